#![no_main]
tacho_fuzz::target!("gguf_cell");
