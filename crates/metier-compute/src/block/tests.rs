use super::*;
use proptest::prelude::*;

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len()).step_by(2).map(|i| u8::from_str_radix(&hexadecimal[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn bytes_and_numbers_equal_those_of_the_gguf_package() {
    let golden = metier_testkit::golden::read(metier_testkit::fixture("golden/blocks.json"));
    let values = metier_testkit::golden::numbers(&golden["values"]);
    let blocks = golden["blocks"].as_array().unwrap();
    for known in blocks {
        let name = known["name"].as_str().unwrap();
        let block = of_name(name).unwrap();
        assert_eq!(u64::from(block.gguf_type()), known["gguf_type"].as_u64().unwrap());
        let bytes = bytes_of(known["bytes"].as_str().unwrap());
        assert_eq!(quantize(block, &values).unwrap(), bytes, "{name}");
        let numbers = dequantize(block, &bytes).unwrap();
        metier_testkit::assert_close(name, &numbers, &metier_testkit::golden::numbers(&known["numbers"]), 0.0, 0.0);
    }
}

fn numbers_of(hexadecimal: &str) -> Vec<f32> {
    dequantize(of_name("F32").unwrap(), &bytes_of(hexadecimal)).unwrap()
}

#[test]
fn bytes_and_numbers_equal_those_of_ggml() {
    let golden = metier_testkit::golden::read(metier_testkit::fixture("golden/ggml_blocks.json"));
    let values = numbers_of(golden["values"].as_str().unwrap());
    let known = golden["blocks"].as_array().unwrap();
    assert_eq!(known.len(), BLOCKS.iter().filter(|block| block.coding().is_some()).count());
    for known in known {
        let name = known["name"].as_str().unwrap();
        let block = of_name(name).unwrap();
        assert_eq!(u64::from(block.gguf_type()), known["gguf_type"].as_u64().unwrap());
        let bytes = bytes_of(known["bytes"].as_str().unwrap());
        assert_eq!(dequantize(block, &bytes).unwrap(), numbers_of(known["numbers"].as_str().unwrap()), "{name}");
        if block.writer().is_some() {
            assert_eq!(quantize(block, &values).unwrap(), bytes, "{name}");
        }
    }
}

#[test]
fn a_type_that_is_read_only_is_not_written() {
    let error = quantize(of_name("Q3_K").unwrap(), &[0.0; 256]).unwrap_err().to_string();
    assert!(error.contains("Q3_K is read and not written") && error.contains("Q6_K"), "{error}");
}

#[test]
fn the_list_is_alphabetical_and_found_by_both_names() {
    assert!(BLOCKS.is_sorted_by_key(|block| block.name()));
    for block in BLOCKS {
        assert_eq!(of_gguf_type(block.gguf_type()).unwrap().name(), block.name());
    }
    assert!(of_gguf_type(16).is_none());
}

#[test]
fn what_is_no_whole_number_of_blocks_is_refused() {
    let block = of_name("Q4_1").unwrap();
    assert!(dequantize(block, &[0; 21]).unwrap_err().to_string().contains("21 bytes"));
    assert!(quantize(block, &[0.0; 33]).unwrap_err().to_string().contains("33 numbers"));
    assert_eq!(bytes_for(block, 64), Some(40));
    assert_eq!(bytes_for(block, 63), None);
}

proptest! {
    #[test]
    fn a_number_comes_back_within_a_step(values in prop::collection::vec(-100.0_f32..100.0, 32)) {
        let span = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (name, steps) in [("Q8_0", 127.0), ("Q5_0", 16.0), ("Q5_1", 15.5), ("Q4_0", 8.0), ("Q4_1", 7.5)] {
            let block = of_name(name).unwrap();
            let back = dequantize(block, &quantize(block, &values).unwrap()).unwrap();
            for (value, back) in values.iter().zip(back) {
                // Half a step of the block, a whole one at the open end, and what half precision loses.
                prop_assert!((value - back).abs() <= span * (1.01 / steps + 0.002), "{} {} {}", name, value, back);
            }
        }
    }

    #[test]
    fn any_bytes_are_numbers(bytes in prop::collection::vec(any::<u8>(), 34 * 20 * 9)) {
        for block in BLOCKS {
            let whole = bytes.len() / block.bytes() * block.bytes();
            prop_assert_eq!(dequantize(*block, &bytes[..whole]).unwrap().len(), whole / block.bytes() * block.values());
        }
    }
}
