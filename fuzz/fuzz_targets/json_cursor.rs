#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_codec::fuzzing::json_cursor(data));
