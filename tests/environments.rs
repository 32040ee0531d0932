//! Engine environments, really made. Needs `uv` (or `TACHO_UV`), a package index or uv's cache, and the built cell
//! program (`TACHO_CELL_DIR`); `TACHO_CACHE_DIR` says where, `TACHO_TEST_ENGINE` which (without it, echo). Run with
//! `cargo test --test environments -- --ignored`.
use tacho::{
    environment::{Checked, EnvironmentSpec, Install, install, remove, status},
    plan::registry::Registry,
};

#[test]
#[ignore = "needs uv and the cell program"]
fn an_environment_is_made_once_checked_and_removed() {
    let engine = std::env::var("TACHO_TEST_ENGINE").unwrap_or_else(|_| "echo".to_owned());
    let keep = engine != "echo";
    let spec = EnvironmentSpec::of(&engine, None).unwrap();
    let cell = Registry::embedded().unwrap().cell_program(&engine).unwrap();
    if !keep {
        remove(&spec).unwrap();
        assert_eq!(status(&spec), None);
    }
    let model = std::env::var_os("TACHO_TEST_MODEL").map(std::path::PathBuf::from);
    let how = Install { cell: &cell, model: model.as_deref() };
    let mut phases = Vec::new();
    let made = install(&spec, how, &mut |phase| {
        println!("{phase}");
        phases.push(phase.to_owned());
    })
    .unwrap();
    println!("{made:#?}");
    assert!(matches!(made.checked, Checked::Generation { .. }), "{made:?}");
    assert_eq!(status(&spec).as_ref(), Some(&made));
    let again = install(&spec, how, &mut |phase| panic!("made a second time: {phase}")).unwrap();
    assert_eq!(again, made);
    if !keep {
        assert!(remove(&spec).unwrap());
        assert_eq!(status(&spec), None);
    }
}
