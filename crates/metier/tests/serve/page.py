"""Uses the page of a metier server as a person does, in a headless Chromium; ends with an exception when it does not work.

    python page.py http://127.0.0.1:PORT CHROMIUM [SCREENSHOT]

The server must have the models `first` and `second` and the adapter `terse` on `first`. SCREENSHOT is the beginning of
the names of pictures.

requires: playwright==1.65.2
"""

import sys

from playwright.sync_api import expect, sync_playwright

ADDRESS, CHROMIUM = sys.argv[1], sys.argv[2]
SCREENSHOT = sys.argv[3] if len(sys.argv) > 3 else None


def ask(page, question):
    page.get_by_label("Message").fill(question)
    page.get_by_label("Message").press("Enter")
    return page.locator(".turn.assistant").last


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1000, "height": 760}, color_scheme="light")
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    elsewhere = []
    page.on("request", lambda request: None if request.url.startswith((ADDRESS, "data:")) else elsewhere.append(request.url))
    page.goto(ADDRESS)
    expect(page.get_by_label("Model").locator("option")).to_have_text(["first", "terse (on first)", "second"])

    page.get_by_text("Settings").click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Most tokens").fill("24")
    answer = ask(page, "What is the capital of France?")
    expect(answer.locator(".note")).to_contain_text("tokens", timeout=60_000)
    text = answer.locator(".text").inner_text()
    assert text.strip(), "the answer is empty"
    tokens = answer.locator(".token")
    assert tokens.count() > 1, "the answer did not come token by token"
    tokens.first.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("%")
    page.get_by_role("button", name="Doubt").click()
    shades = tokens.evaluate_all("(all) => new Set(all.map((one) => getComputedStyle(one).backgroundColor)).size")
    assert shades > 1, "tokens are not colored by how unsure the model was"
    if SCREENSHOT:
        page.screenshot(path=f"{SCREENSHOT}-light.png")
    page.get_by_role("button", name="Theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    tokens.nth(1).hover()
    if SCREENSHOT:
        page.screenshot(path=f"{SCREENSHOT}-dark.png")

    # The other model answers a second turn, and can be stopped.
    page.get_by_label("Model").select_option("second")
    page.get_by_label("Most tokens").fill("150")
    page.get_by_label("Message").fill("Go on.")
    # Stopped at the first token: no hand is quick enough for a small model.
    page.evaluate("""() => new Promise((stopped) => {
        const before = document.querySelectorAll(".token").length;
        new MutationObserver((_, observer) => {
            if (document.querySelectorAll(".token").length === before) return;
            observer.disconnect();
            document.querySelector("#send").click();
            stopped();
        }).observe(document.querySelector("#turns"), { childList: true, subtree: true });
        document.querySelector("#send").click();
    })""")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    answer = page.locator(".turn.assistant").last
    expect(answer.locator(".note")).to_contain_text("second")
    expect(answer.locator(".note")).to_contain_text("stopped")

    # What the server refuses is said, and the question is not lost.
    page.get_by_label("Most tokens").fill("1000000")
    failed = ask(page, "Again.").locator(".note")
    expect(failed).to_contain_text("longer than the model's context")
    expect(failed).to_be_in_viewport()
    expect(page.get_by_label("Message")).to_have_value("Again.")
    if SCREENSHOT:
        page.screenshot(path=f"{SCREENSHOT}-error.png")

    # A new chat begins while an answer comes, and knows nothing of it.
    page.get_by_label("Most tokens").fill("150")
    page.get_by_label("Message").fill("Go on.")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert page.evaluate("messages.length") == 0, "the new chat is not empty"

    # An adapter answers in a narrow window; a long talk goes on without its oldest turns, and that is said.
    page.set_viewport_size({"width": 360, "height": 640})
    page.get_by_label("Model").select_option("terse")
    page.get_by_label("Most tokens").fill("60")
    for _ in range(4):
        answer = ask(page, "What is the capital of France, and what is that of Italy?")
        expect(answer.locator(".note")).to_contain_text("terse · ", timeout=60_000)
    expect(answer.locator(".note")).to_contain_text("messages did not fit and were left out")
    expect(answer.locator(".note")).to_be_in_viewport()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360, f"the page is {wide} pixels wide in a window of 360"
    box = page.get_by_label("Message").bounding_box()
    assert box["y"] + box["height"] <= 640, "the message field is out of sight"
    answer.locator(".token").first.hover()
    tip = page.get_by_role("tooltip").bounding_box()
    assert tip["x"] >= 0 and tip["x"] + tip["width"] <= 360, tip
    if SCREENSHOT:
        page.screenshot(path=f"{SCREENSHOT}-narrow.png")
    page.get_by_role("button", name="New chat").click()
    assert not elsewhere, elsewhere
    # The one refusal above is all that the browser has to complain about.
    unexpected = [line for line in said if "400 (Bad Request)" not in line and not line.startswith("[DOM]")]
    assert not unexpected, unexpected
    browser.close()
print("all as expected")
