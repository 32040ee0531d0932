#![no_main]
tacho_fuzz::target!(cupti_records);
