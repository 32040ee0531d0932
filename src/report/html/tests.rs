use super::*;
use crate::{
    report::{advice, charts},
    results::testing,
};

fn page_of(info: &RunInfo, records: &[PointRecord]) -> String {
    let dir = tempfile::tempdir().unwrap();
    page(info, records, &advice::of(records), &charts::of(dir.path(), info, records)).unwrap()
}

/// The page without what is the same in all.
fn body(page: &str) -> String {
    let body = page.split("<body>").nth(1).unwrap().split("<script>").next().unwrap();
    body.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_page_is_as_it_was() {
    let mut records = testing::records();
    records.extend(testing::sweep().into_iter().skip(12));
    insta::assert_snapshot!(body(&page_of(&testing::info(), &records)));
}

#[test]
fn invalid_points_are_not_called_stand_ins() {
    let mut records = testing::sweep();
    records.retain(|record| record.point.engine.id != "sim" && !record.trials.is_empty());
    for record in &mut records {
        record.trials.truncate(2);
    }
    assert!(!records.is_empty());
    let mut info = testing::info();
    // Two trials have no interval, which the plan asks for.
    info.plan["trials"] = serde_json::json!({ "target": 0.02 });
    let advice = advice::judged(&info, &records);
    assert_eq!((advice.invalid, advice.rankings.len()), (records.len(), 0));
    let dir = tempfile::tempdir().unwrap();
    let page = page(&info, &records, &advice, &charts::of(dir.path(), &info, &records)).unwrap();
    assert!(page.contains("Every point of an engine is invalid") && !page.contains("Only stand-ins"));
}

#[test]
fn what_forbids_every_ratio_is_said_once() {
    let mut records = testing::sweep();
    records.retain(|record| record.point.engine.id != "sim");
    let mut others = records.clone();
    others.iter_mut().for_each(|record| record.point.engine.id = "vllm".to_owned());
    records.extend(others);
    let mut advice = advice::of(&records);
    let why = "because the engines are not the same in kv_dtype (f16 and f32)";
    advice.rankings.iter_mut().for_each(|ranking| ranking.refused = Some(why.to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let charts = charts::of(dir.path(), &testing::info(), &records);
    let page = page(&testing::info(), &records, &advice, &charts).unwrap();
    assert_eq!(page.matches("not the same in kv_dtype").count(), 1, "{}", body(&page));
    assert!(page.contains("No winner for any use") && page.contains("NOT COMPARABLE"));
}

#[test]
fn hostile_text_stays_text() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"`\u{202e}{{ page }}";
    let mut records = testing::sweep();
    records.extend(testing::records());
    for record in &mut records {
        record.point.engine.id = evil.to_owned();
        for (name, value) in &mut record.point.axes {
            if name != "batch" {
                *name = evil.to_owned();
                *value = evil.to_owned();
            }
        }
        if let Some(engine) = &mut record.engine {
            engine.model.name = evil.to_owned();
            engine.version = evil.to_owned();
            engine.device = evil.to_owned();
        }
        if let crate::results::PointStatus::Failed(failure) = &mut record.outcome {
            failure.reason = evil.to_owned();
            failure.last_lines = vec![evil.to_owned(), "\u{1b}[31m\u{0}".to_owned()];
        }
        record.stopped_by = evil.to_owned();
    }
    let mut info = testing::info();
    info.plan["name"] = evil.into();
    info.command.push(evil.to_owned());
    info.run_id = evil.to_owned();
    info.host.cpu_model = Some(evil.to_owned());
    let mut engine = info.engines.remove("sim").unwrap();
    engine.info.effective.insert(evil.to_owned(), evil.into());
    engine.asked.options.insert(evil.to_owned(), evil.into());
    info.engines.insert(evil.to_owned(), engine);
    let page = page_of(&info, &records);
    assert!(!page.contains("<script>alert") && !page.contains("<img"), "{}", body(&page));
    // Ours alone: the data and the script.
    assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (2, 2));
    assert!(page.contains("&lt;img src=x") && !page.contains('\u{1b}') && !page.contains('\u{0}'));
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let page = page_of(&testing::info(), &testing::sweep());
    for word in ["http://", "https://", "url(http", "@import", "src=\"", "fetch("] {
        let found = page.replace("http://www.w3.org/2000/svg", "").contains(word);
        assert!(!found, "'{word}'");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_run_has_a_page() {
    let failed: Vec<PointRecord> = testing::records().into_iter().filter(|r| r.trials.is_empty()).collect();
    let one: Vec<PointRecord> = testing::sweep().into_iter().skip(12).take(1).collect();
    for (records, says) in [
        (Vec::new(), "No point has been finished"),
        (failed, "Every point failed"),
        (one, "One engine was measured, llama.cpp"),
        (testing::sweep().into_iter().take(12).collect(), "Only stand-ins were measured"),
    ] {
        let page = page_of(&testing::info(), &records);
        assert!(page.contains(says), "no '{says}': {}", body(&page));
        assert!(page.contains("Not recorded in this run."));
    }
}
