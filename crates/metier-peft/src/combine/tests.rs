use super::*;
use crate::folder::Stored;
use metier_testkit::{assert_close, golden, hashed, scratch};

/// The numbers that the script gives a tensor of an adapter.
fn number(name: &str, shape: &[usize]) -> Vec<f32> {
    hashed::even(name).take(shape.iter().product()).map(|even| (even * 0.25) as f32).collect()
}

fn write(name: &str, member: &Value, folder: &Path) {
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_value(member["file"].clone()).unwrap();
    let tensors: Vec<Stored> = shapes
        .into_iter()
        .map(|(tensor, shape)| {
            let values = number(&format!("{name} {tensor}"), &shape);
            (tensor, shape, Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    folder::write(folder, &tensors, member["config"].as_object().unwrap().clone(), None).unwrap();
}

fn product(pair: &Pair) -> Vec<f32> {
    let (rank, inputs) = (pair.a.rows, pair.a.columns);
    let row = |b: &[f32]| -> Vec<f32> {
        (0..inputs).map(|at| (0..rank).map(|r| b[r] * pair.a.values[r * inputs + at]).sum()).collect()
    };
    pair.b.values.chunks_exact(rank).flat_map(row).collect()
}

#[test]
fn every_method_makes_what_the_peft_library_makes() {
    let golden = golden::read("combine.json");
    for (name, case) in golden["cases"].as_object().unwrap() {
        let folder = scratch("combine");
        let (a, b, made) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("made"));
        write("a", &case["members"]["a"], &a);
        write("b", &case["members"]["b"], &b);
        let members = [("a", &a), ("b", &b)].map(|(name, folder)| Member {
            name,
            folder,
            weight: case["weights"][name].as_f64().unwrap(),
        });
        let combine: Combine = serde_json::from_value(case["settings"].clone()).unwrap();
        let combined = combine
            .run_with(&members, &made, &mut |tensor, of, count| {
                let mask = hashed::even(&format!("{} {tensor} stays", members[of].name)).take(count);
                mask.map(|even| f64::midpoint(even, 1.0) < combine.density).collect()
            })
            .unwrap();
        let read = read(Member { name: "made", folder: &made, weight: 1.0 }).unwrap();
        assert_eq!(combined.rank as u64, case["rank"].as_u64().unwrap(), "{name}");
        assert_eq!(read.pairs.len(), combined.sites, "{name}");
        for (site, pair) in &read.pairs {
            assert!((read.lora.at(site).1 - 1.0).abs() < f32::EPSILON, "{name}: what is made has the factor 1");
            let want = |part: &str| golden::numbers(&case["tensors"][site][part]);
            if combine.method == Method::Svd {
                // Signs of singular vectors are anyone's; their product is not.
                assert_close(&format!("{name}: {site}"), &product(pair), &want("product"), 1e-6, 1e-5);
            } else {
                assert_close(&format!("{name}: {site} A"), &pair.a.values, &want("a"), 1e-7, 1e-6);
                assert_close(&format!("{name}: {site} B"), &pair.b.values, &want("b"), 1e-7, 1e-6);
            }
        }
        // The seed's own choice is the same again.
        let combine = |to: &str| combine.run(&members, Seed::new(3), &folder.path().join(to)).unwrap();
        assert_eq!((combine("once"), combine("twice")), (combined, combined));
        let bytes = |of: &str| std::fs::read(folder.path().join(of).join("adapter_model.safetensors")).unwrap();
        assert_eq!(bytes("once"), bytes("twice"), "{name}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let golden = golden::read("combine.json");
    let case = &golden["cases"]["cat"];
    let folder = scratch("refused");
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    write("a", &case["members"]["a"], &a);
    write("b", &case["members"]["b"], &b);
    let members = [("first", &a), ("second", &b)].map(|(name, folder)| Member { name, folder, weight: 1.0 });
    let run = |method: Method| {
        let combine = Combine { method, ..Combine::default() };
        combine.run(&members, Seed::new(1), &folder.path().join("made")).map_err(|error| error.to_string())
    };
    let error = run(Method::Linear).unwrap_err();
    assert!(error.contains("`first` has the rank 3, `second` the rank 2") && error.contains("`svd`"), "{error}");
    run(Method::Svd).unwrap();
    let base =
        |norms: &str| json!({ "fingerprint": { "norms": norms, "weights": null }, "parameters": 10 }).to_string();
    std::fs::write(a.join("adapter_base.json"), base("one")).unwrap();
    run(Method::Cat).unwrap();
    std::fs::write(b.join("adapter_base.json"), base("two")).unwrap();
    let error = run(Method::Cat).unwrap_err();
    assert!(error.contains("`second` was trained on another base than `first`"), "{error}");
    let bad = Combine { density: 1.5, rank: Some(0), ..Combine::default() };
    assert_eq!(bad.check(&Place::key("combine")).unwrap_err().faults.len(), 2);
}
