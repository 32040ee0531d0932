#![no_main]
tacho_fuzz::target!("cupti");
