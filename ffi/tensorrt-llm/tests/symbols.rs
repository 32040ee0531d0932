//! The bridge asks the double for just what it would ask the real library for: a list that is committed.
use std::{collections::BTreeSet, path::Path, process::Command};

/// Undefined symbols of the bridge's object in the archive that the build made.
fn asked() -> BTreeSet<String> {
    let archive = Path::new(env!("OUT_DIR")).join("libtacho_trtllm_bridge.a");
    let run = Command::new("nm").arg("-u").arg(&archive).output().expect("binutils' nm comes with the C++ compiler");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).unwrap();
    let member = text.split("\n\n").find(|part| {
        let name = part.lines().find(|line| line.ends_with(':')).unwrap_or("");
        name.ends_with("bridge.o:")
    });
    let member = member.expect("the archive has no bridge.o");
    let symbols = member.lines().filter_map(|line| line.split_whitespace().last());
    let vendors = |name: &&str| name.contains("12tensorrt_llm") || *name == "initTrtLlmPlugins";
    symbols.filter(vendors).map(str::to_owned).collect()
}

#[test]
fn the_bridge_asks_for_what_the_list_says() {
    let list = include_str!("../../../cpp/symbols.txt");
    let listed: BTreeSet<String> = list.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let asked = asked();
    let new: Vec<_> = asked.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&asked).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "the surface of TensorRT-LLM that the bridge uses has changed: new {new:#?}, gone {gone:#?}. Check it against the real \
         header (scripts/trtllm-headers.sh), then change cpp/symbols.txt"
    );
    assert!(asked.len() > 40, "only {} symbols", asked.len());
}
