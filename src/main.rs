//! The `tacho` program.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The simulated engine needs no program of its own: `tacho` starts itself again as its cell.
    if std::env::args_os().nth(1).is_some_and(|first| first == tacho::cell::parent::SIM_CELL_ARG) {
        return tacho::cell::serve(|config| Ok(Box::new(tacho::engine::sim::Sim::load(config)?)));
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == tacho::http::GUARD_ARG) {
        return tacho::http::guard(std::env::args_os().skip(2));
    }
    cli::main()
}
