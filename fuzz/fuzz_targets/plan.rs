#![no_main]
tacho_fuzz::target!("plan");
