//! Bad plans: each a clear error that names the place, what was expected, what was found and what to do.
use tacho::plan::{Draft, Plan, Source, read, registry::Registry, resolve};

fn plan(text: &str) -> Result<Plan, String> {
    let registry = Registry::embedded().unwrap();
    let source = Source::new("p.toml", text);
    let draft: Draft = read(&source, &registry).map_err(|error| error.to_string())?;
    resolve(draft, &registry).map(|resolved| resolved.plan).map_err(|error| error.to_string())
}

/// The errors of several plans, each after the plan's last line.
fn errors(texts: &[&str]) -> String {
    let told = |text: &&str| match plan(text) {
        Ok(plan) => panic!("accepted, with {} points:\n{text}", plan.points.len()),
        Err(error) => format!("{error}\n"),
    };
    // A new engine is a new folder, not a new snapshot.
    let engines: Vec<String> = Registry::embedded().unwrap().engines().iter().map(|entry| entry.id.clone()).collect();
    texts.iter().map(told).collect::<Vec<_>>().join("\n").replace(&engines.join(", "), "(all engines)")
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_one() {
    insta::assert_snapshot!(errors(&[
        "nmae = 'x'",
        "[workload]\ninputs = 8",
        "[axes]\nbatchs = [1, 2]",
        "[axes]\n\"engine.simm.jitter\" = [1, 2]",
        "engine = 'sim'\n[axes]\nengine.sim.jiter = [0.1, 0.2]",
        "[[engine]]\nid = 'sim'\noptions = { step_us = 4 }",
        "[[engine]]\nid = 'sim'\noption = { step_us = 4 }",
        "[trials]\nmax_tials = 3",
        "[deadlines]\nwarmups = '3s'",
        "[workload]\nsampling = { temprature = 1 }",
        "[model]\nfile = 'x'",
    ]));
}

#[test]
fn values_that_cannot_be_are_refused() {
    insta::assert_snapshot!(errors(&[
        "engine = 'sim'\n[workload]\ninput = 0",
        "engine = 'sim'\n[workload]\noutput = -4",
        "engine = 'sim'\n[workload]\ninput = 1.5",
        "engine = 'sim'\n[workload]\ninput = '9..4'",
        "engine = 'sim'\n[workload]\ninput = 'normal(4)'",
        "engine = 'sim'\n[workload]\nrequests = -1",
        "engine = 'sim'\n[workload]\nrequests = 99999999999",
        "engine = 'sim'\n[workload]\ninput = [1, 2]",
        "engine = 'sim'\n[workload]\nsampling = { temperature = -1 }",
        "engine = 'sim'\n[workload]\nsampling = { top_p = 0 }",
        "seed = -1",
        "seed = 'x'",
        "name = 'a/b'",
        "model = 3",
        "[trials]\ntarget = 2",
        "[trials]\nmax_time = 'soon'",
        "engine = 'sim'\n[workload]\nrate = 0",
        "engine = 'sim'\n[workload]\nrate = [4, nan]",
        "engine = 'sim'\n[workload]\nrate = inf",
        "engine = 'sim'\n[workload]\nrate = 5\narrivals = 'gamma:0'",
        "engine = 'sim'\nslo = 'ttft'",
        "engine = 'sim'\n[trials]\nmin_trials = 0",
        "engine = 'sim'\n[trials]\nmin_trials = 9\nmax_trials = 8",
        "engine = 'sim'\n[trials]\nwatch_cost = 3",
        "workload = 3",
        "x = ",
    ]));
}

#[test]
fn axes_that_cannot_be_are_refused() {
    insta::assert_snapshot!(errors(&[
        "engine = 'sim'\n[axes]\nbatch = []",
        "engine = 'sim'\n[axes]\nbatch = ''",
        "engine = 'sim'\n[axes]\nbatch = [1, true]",
        "engine = 'sim'\n[axes]\nbatch = [1, 2, 1]",
        "engine = 'sim'\n[axes]\nbatch = '1..32'",
        "engine = 'sim'\n[axes]\nbatch = '1..32*1'",
        "engine = 'sim'\n[axes]\nrequests = '1..4294967295+1'",
        "engine = 'sim'\n[axes]\ninput = ['64..x']",
        "engine = 'sim'\n[workload]\nbatch = 4\n[axes]\nbatch = [1, 2]",
        "engine = 'sim'\n[axes]\nbatch = [1, 2]\nconcurrency = [1, 2]",
        "engine = 'sim'\n[workload]\ninput = 4\n[axes]\nlength = [1, 2]",
        "engine = 'sim'\n[axes]\nmode = 'zip'\ninput = [1, 2]\noutput = [1, 2, 3]",
        "engine = 'sim'\n[axes]\nmode = 'diagonal'",
        "engine = 'sim'\n[axes]\ninput = '1..1000+1'\noutput = '1..1000+1'",
        "engine = 'sim'\n[workload]\nrequests = 4\n[axes]\nbatch = [2, 8]",
        "engine = 'sim'\n[workload]\nrequests = 4\nconcurrency = 8",
        "engine = 'sim'\n[axes]\n\"engine.llama.cpp.n_ubatch\" = [128, 512]",
    ]));
}

#[test]
fn engines_and_models_that_are_missing_are_named() {
    insta::assert_snapshot!(errors(&[
        "",
        "engine = 'siim'",
        "engine = []",
        "engine = ['sim', 'sim']",
        "[[engine]]\noptions = { jitter = 0.1 }",
        "engine = 'llama.cpp'",
        "engine = 'llama.cpp'\nmodel = ''",
    ]));
}

#[test]
fn an_expansion_past_all_numbers_is_refused_at_once() {
    let axis = "'1..90000+1'";
    let all: Vec<String> =
        ["batch", "requests", "input", "output"].iter().map(|name| format!("{name} = {axis}")).collect();
    let error = plan(&format!("engine = 'sim'\n[axes]\n{}", all.join("\n"))).unwrap_err();
    assert!(error.contains("expected at most 100000"), "{error}");
}

#[test]
fn points_are_every_combination_in_order_the_last_axis_fastest() {
    let plan =
        plan("engine = 'sim'\n[workload]\nrequests = 8\n[axes]\nbatch = [1, 8]\n\"engine.sim.jitter\" = [0.0, 0.1]")
            .unwrap();
    let labels: Vec<String> = plan.points.iter().map(|point| point.label()).collect();
    assert_eq!(
        labels,
        ["sim batch=1 jitter=0.0", "sim batch=1 jitter=0.1", "sim batch=8 jitter=0.0", "sim batch=8 jitter=0.1"]
    );
    assert_eq!(plan.cells().len(), 2);
    assert!(plan.points.iter().enumerate().all(|(place, point)| point.number as usize == place));
}

#[test]
fn zip_takes_values_pairwise_and_repeats_single_ones() {
    let text = "engine = 'sim'\n[axes]\nmode = 'zip'\ninput = '32..128*2'\noutput = [4, 5, 6]\nbatch = [2]";
    let plan = plan(text).unwrap();
    let lengths: Vec<(u32, u32)> =
        plan.points.iter().map(|point| (point.workload.input.max(), point.workload.output.max())).collect();
    assert_eq!(lengths, [(32, 4), (64, 5), (128, 6)]);
    assert!(plan.points.iter().all(|point| point.workload.requests == 2));
}

#[test]
fn shipped_plans_resolve_with_the_points_they_promise() {
    let registry = Registry::embedded().unwrap();
    let mut found = Vec::new();
    for shipped in tacho::plan::shipped() {
        let mut draft = read(&shipped.source(), &registry).unwrap();
        let text = "model = 'm.gguf'";
        draft = draft.over(read(&Source::new("m", text), &registry).unwrap());
        let plan = resolve(draft, &registry).unwrap().plan;
        assert_eq!(plan.name, shipped.name);
        assert!(!shipped.about().is_empty());
        let points: Vec<String> = plan
            .points
            .iter()
            .map(|point| {
                let workload = &point.workload;
                format!("{} x {}/{}", workload.requests, workload.input, workload.output)
            })
            .collect();
        found.push(format!("{}: {}", plan.name, points.join(", ")));
    }
    insta::assert_snapshot!(found.join("\n"));
}
