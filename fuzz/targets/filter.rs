#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| trine_kv::fuzzing::filter(input));
