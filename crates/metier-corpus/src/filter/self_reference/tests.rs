use super::super::document;
use super::*;
use metier_core::seed::Seed;

const TOPICS: [&str; 16] = [
    "path loss",
    "handover",
    "beamforming",
    "channel estimation",
    "spectral efficiency",
    "packet loss",
    "the hidden node problem",
    "congestion control",
    "power control",
    "network slicing",
    "link adaptation",
    "interference",
    "carrier aggregation",
    "synchronization",
    "route aggregation",
    "key exchange",
];

/// Wordings that were in mind when the rules were written.
const KNOWN: [&str; 20] = [
    "What is the main contribution of this paper regarding {topic}?",
    "According to the authors, why is {topic} important?",
    "What does Figure {n} show about {topic}?",
    "How is {topic} described in section {n}.{m}?",
    "What does the above text say about {topic}?",
    "Which method for {topic} is proposed in this work?",
    "What are the results of the proposed scheme for {topic}?",
    "As mentioned above, what affects {topic}?",
    "What does the paper conclude about {topic}?",
    "What is shown in Table {n} for {topic}?",
    "How does Eq. ({n}) relate to {topic}?",
    "What does the passage state about {topic}?",
    "What is the role of {topic} in the given context?",
    "How is {topic} handled in the present document?",
    "What do the experiments show for {topic}?",
    "Why do these authors prefer {topic}?",
    "In this section, what is said about {topic}?",
    "What does our approach change about {topic}?",
    "What does the study in [{n}] find about {topic}?",
    "How was {topic} defined in the text?",
];

/// Wordings that were written down afterwards and then tried. The rules missed 5 of the first 40, 8 of the next 20 (hard ones on
/// purpose) and 2 of the last 20, and were mended after each.
const TRIED: [&str; 80] = [
    "What does Table {n} reveal about {topic}?",
    "According to the text, why does {topic} degrade?",
    "Which variant of {topic} does the author recommend?",
    "How do the authors justify their choice of {topic}?",
    "In the example given in the passage, what value is used for {topic}?",
    "What limitation of {topic} is acknowledged in the study?",
    "What assumption about {topic} is made in Section {n}.{m}?",
    "What conclusion about {topic} can be drawn from Fig. {n}(a)?",
    "Which of the schemes compared in the paper is best for {topic}?",
    "What does the excerpt say regarding {topic}?",
    "How is {topic} defined in the document?",
    "Why was {topic} chosen for the experiments described in this work?",
    "As stated in the introduction, what motivates {topic}?",
    "Based on the provided information, what limits {topic}?",
    "What is the effect of {topic}, as mentioned earlier?",
    "Using equation ({n}), how is {topic} computed?",
    "What did the work in [{n}] show about {topic}?",
    "What do the simulation results indicate about {topic}?",
    "What is the purpose of the algorithm for {topic} proposed in the article?",
    "What future work on {topic} do the authors suggest?",
    "How does our scheme improve {topic}?",
    "What is meant by {topic} in the context of this document?",
    "What role does {topic} play in the system model considered here?",
    "Which parameter of {topic} is listed in the table?",
    "What does Appendix B prove about {topic}?",
    "Why does the above approach fail for {topic}?",
    "What are the key findings of the study on {topic}?",
    "What is the title of the section that covers {topic}?",
    "What does the given passage claim about {topic}?",
    "Who wrote the report on {topic} and when?",
    "What is the first step in the procedure described for {topic}?",
    "How many cells does the considered network for {topic} have?",
    "What metric is used to evaluate {topic} in this study?",
    "In which clause of the present document is {topic} specified?",
    "What does the survey conclude about {topic}?",
    "What problem does the chapter address with respect to {topic}?",
    "Which theorem establishes the bound on {topic} in the paper?",
    "How does the speaker describe {topic}?",
    "What is illustrated by the diagram in relation to {topic}?",
    "What values of {topic} appear in the last row of the table?",
    "Which drawback of {topic} do the writers point out?",
    "What is the relation between {topic} and throughput as depicted in the graph?",
    "List the steps of {topic} outlined in the previous chapter.",
    "What is the value for {topic} reported in row {n} of the results table?",
    "How is {topic} illustrated in the accompanying figure?",
    "What notation is adopted in this article for {topic}?",
    "Why do the researchers discard {topic}?",
    "What does the standard described in the document require of {topic}?",
    "What does Lemma {n} state about {topic}?",
    "From the reading, what can be inferred about {topic}?",
    "What distinguishes the present work from earlier work on {topic}?",
    "What evidence does the article offer for {topic}?",
    "What is said about {topic} in the paragraph preceding the conclusion?",
    "How does the proposed protocol deal with {topic}?",
    "Which dataset is used in their evaluation of {topic}?",
    "What did the team find out about {topic} in their trial?",
    "What were the outcomes of the simulation of {topic}?",
    "How is {topic} modeled in ({n})?",
    "What do the definitions in subsection {n}.{m} say about {topic}?",
    "What does the following excerpt suggest about {topic}?",
    "What does the author mean by {topic}?",
    "In Table {n}, which entry concerns {topic}?",
    "Why is {topic} excluded from the analysis in this paper?",
    "What did the authors observe about {topic}?",
    "Which equation in the text defines {topic}?",
    "How does the article describe {topic}?",
    "What is the reason given in the passage for {topic}?",
    "What are the two kinds of {topic} mentioned in the text?",
    "What does chapter {n} cover with regard to {topic}?",
    "What advantage of {topic} is highlighted in the document?",
    "How does Figure {n}.{m} depict {topic}?",
    "What parameters of {topic} are specified in clause {n}.{m}?",
    "What is the main idea of the paragraph about {topic}?",
    "What does the report recommend for {topic}?",
    "In the described scenario, what causes {topic}?",
    "What does this example illustrate about {topic}?",
    "Per the document, who is responsible for {topic}?",
    "What open problems in {topic} are listed at the end of the survey?",
    "What is the significance of {topic} in the proposed framework?",
    "How do the results in this section compare with earlier results on {topic}?",
];

/// Wordings that were written down before the last mending, and tried after it.
const HELD_OUT: [&str; 20] = [
    "What does the paper identify as the main cause of {topic}?",
    "According to Section {n}, how does {topic} behave?",
    "What is the purpose of the table describing {topic}?",
    "How does the text characterize {topic}?",
    "What are the authors' views on {topic}?",
    "What does equation {n} express in terms of {topic}?",
    "Which experiment in the paper measures {topic}?",
    "What is discussed in Appendix C about {topic}?",
    "What was observed in Figure {n} when {topic} was enabled?",
    "Which two approaches to {topic} are contrasted in the article?",
    "What example of {topic} is provided in the text?",
    "What does this study contribute to {topic}?",
    "What is the aim of the document with respect to {topic}?",
    "Why does the author call {topic} a problem?",
    "What steps for {topic} are given in the section above?",
    "What benefits of {topic} are claimed by the authors?",
    "How is the term {topic} used in this specification?",
    "What do Tables {n} and 9 say about {topic}?",
    "What does the following paragraph explain about {topic}?",
    "What is concluded about {topic} in the final section?",
];

/// Questions that stand alone, though they have the words the rules look for.
const GOOD: [&str; 60] = [
    "What is {topic}?",
    "How does {topic} work in a cellular network?",
    "Why is {topic} harder above {n} GHz?",
    "Which figure of merit is used to compare receivers with respect to {topic}?",
    "What does section mean in the structure of a book about {topic}?",
    "What does section {n}.{m} of RFC 793 specify?",
    "What is a routing table, and how does it help {topic}?",
    "How does table lookup speed up {topic}?",
    "Who are the authors of RFC 2616?",
    "What is the equation for the free-space path loss?",
    "What happens to a signal below the noise floor?",
    "What was paper tape used for in early telegraphy?",
    "What does the Author header field contain?",
    "What does the text/plain media type denote?",
    "Why do we need {topic}?",
    "How can we derive the capacity of a channel with {topic}?",
    "How is a frame formed in the data link layer?",
    "What is carried in an information element?",
    "What is stored in the page table of an operating system?",
    "What does the table of contents of a standard list?",
    "What is the study of radio waves called?",
    "What is the result of adding two binary numbers modulo {n}?",
    "Which chart is used for impedance matching?",
    "What is a given name in a vCard?",
    "What is the present value of a bandwidth license?",
    "How does the previous hop differ from the next hop in {topic}?",
    "How is a packet sent from the source to the destination?",
    "What is thermal noise, and what is its source?",
    "Which clause of SQL filters rows after grouping?",
    "What is a white paper in industry?",
    "How does an abstract syntax tree represent a program?",
    "What does a paragraph element look like in HTML?",
    "What is the proposed standard level in the standards process?",
    "Which working group standardized {topic}?",
    "How many bits has the port field in a UDP header?",
    "What is the formula of Shannon for the capacity of a channel?",
    "What does clause {n}.{m} of TS 23.501 describe?",
    "According to the Nyquist theorem, what is the lowest sampling rate?",
    "How is {topic} affected by the context in which a device moves?",
    "What is the difference between text mode and binary mode in FTP?",
    "In the OSI model, which layer is responsible for {topic}?",
    "What does the method GET do in HTTP?",
    "What is an appendix in anatomy?",
    "Which algorithm finds the shortest path in a graph?",
    "What is the noise figure of a receiver?",
    "What is a figure 8 antenna pattern?",
    "How does a lookup table in hardware support {topic}?",
    "What happens when an XML document is not well-formed?",
    "How does a study of propagation help {topic}?",
    "What is the work function of a metal?",
    "Which book founded information theory?",
    "What does a measurement report contain in LTE?",
    "How are examples in a training set labeled?",
    "What is a lemma in linguistics?",
    "What is described by a figure of eight among Lissajous curves?",
    "How does a document object model describe a page?",
    "What is the page size of an operating system?",
    "In which layer is a segment described by a header?",
    "Which section of a filter determines how steep it is?",
    "What do the results of a traceroute show about {topic}?",
];

/// So many questions, each from the next wording, with a topic and numbers of its own.
fn questions(templates: &[&str], count: u64, seed: u64) -> Vec<String> {
    (0..count)
        .map(|number| {
            let mut random = Seed::new(seed).at(number);
            templates[number as usize % templates.len()]
                .replace("{topic}", TOPICS[random.below(16) as usize])
                .replace("{n}", &(2 + random.below(8)).to_string())
                .replace("{m}", &(1 + random.below(5)).to_string())
        })
        .collect()
}

/// The question and why, if the filter drops it.
fn dropped(question: &str) -> Option<(&str, String)> {
    match (SelfReference {}).apply(document(question)) {
        Verdict::Drop(_) => Some((question, question[points_at_source(question)?].to_owned())),
        Verdict::Keep(_) => None,
    }
}

#[test]
fn questions_that_point_at_their_source_go_and_others_stay() {
    let planted = [questions(&KNOWN, 20, 1), questions(&TRIED, 80, 2), questions(&HELD_OUT, 100, 3)];
    let good = questions(&GOOD, 200, 4);
    let missed: Vec<_> = planted.iter().flatten().filter(|text| dropped(text).is_none()).collect();
    let lost: Vec<_> = good.iter().filter_map(|text| dropped(text)).collect();
    println!("missed {} of 200, lost {} of 200", missed.len(), lost.len());
    assert!(missed.len() <= 4, "{missed:#?}");
    assert!(lost.len() <= 4, "{lost:#?}");
}
