use super::*;

/// Answers each row with its position plus one, and checks what a KV cache would.
#[derive(Default)]
struct Fake {
    cached: Vec<u32>,
    open: Vec<bool>,
    passes: Vec<Vec<Row>>,
    fail: bool,
}

impl Decoder for Fake {
    fn begin(&mut self, slot: usize, _: &Sampling) -> Result<(), EngineError> {
        self.cached.resize(self.cached.len().max(slot + 1), 0);
        self.open.resize(self.cached.len(), false);
        assert!(!self.open[slot], "slot {slot} was still in use");
        self.open[slot] = true;
        Ok(())
    }

    fn decode(&mut self, rows: &[Row]) -> Result<(), EngineError> {
        if self.fail {
            return Err(EngineError::engine("as asked"));
        }
        for row in rows {
            let cached = &mut self.cached[row.slot as usize];
            assert_eq!(row.position, *cached, "slot {}: positions follow each other", row.slot);
            *cached += 1;
        }
        self.passes.push(rows.to_vec());
        Ok(())
    }

    fn pick(&mut self, row: usize, slot: usize) -> Result<TokenId, EngineError> {
        let row = self.passes.last().ok_or_else(|| EngineError::engine("no pass"))?[row];
        assert!(row.output && row.slot as usize == slot);
        Ok(TokenId(row.position + 1))
    }

    fn end(&mut self, slot: usize) {
        assert!(self.open[slot]);
        self.open[slot] = false;
        self.cached[slot] = 0;
    }
}

fn limits() -> Limits {
    Limits { max_seqs: 3, n_batch: 8, max_model_len: 32, kv_tokens: 64, vocab_size: 100 }
}

fn request(id: u32, prompt: &[TokenId], output_tokens: u32) -> Request<'_> {
    Request { id: RequestId(id), prompt, output_tokens, sampling: Sampling::default() }
}

fn run(scheduler: &mut Scheduler, fake: &mut Fake) -> (Vec<Emitted>, Vec<StepCounts>) {
    let (mut emitted, mut counts) = (Vec::new(), Vec::new());
    while !scheduler.is_idle() {
        counts.push(scheduler.step(fake).unwrap());
        emitted.extend_from_slice(scheduler.emitted());
        let cached: u32 = fake.cached.iter().sum();
        assert_eq!(scheduler.kv_used(), u64::from(cached), "tokens in use after step {}", counts.len());
    }
    (emitted, counts)
}

#[test]
fn every_request_gets_its_tokens_in_order_and_the_counts_add_up() {
    let (mut scheduler, mut fake) = (Scheduler::new(limits()), Fake::default());
    let shapes = [(1, 1), (5, 3), (20, 2), (9, 7), (2, 30), (31, 1)];
    for (id, (input, output)) in shapes.iter().enumerate() {
        let prompt = vec![TokenId(7); *input];
        scheduler.submit(request(id as u32, &prompt, *output), 50 + id as u32).unwrap();
    }
    let (emitted, counts) = run(&mut scheduler, &mut fake);
    for (id, (input, output)) in shapes.iter().enumerate() {
        let mine: Vec<_> = emitted.iter().filter(|new| new.request.0 == id as u32).collect();
        let ids: Vec<u32> = mine.iter().map(|new| new.token.0).collect();
        assert_eq!(ids, (0..*output).map(|index| *input as u32 + index).collect::<Vec<_>>(), "request {id}");
        assert!(mine.iter().all(|new| new.tag == 50 + id as u32 && new.input_tokens == *input as u32));
        let (last, before) = mine.split_last().unwrap();
        assert_eq!(last.finish, Some(FinishReason::Length));
        assert!(before.iter().all(|new| new.finish.is_none()));
    }
    let prefilled: u32 = counts.iter().map(|count| count.prefill_tokens).sum();
    let decoded: u32 = counts.iter().map(|count| count.decode_seqs).sum();
    assert_eq!(prefilled, shapes.iter().map(|(input, _)| *input as u32).sum::<u32>());
    assert_eq!(decoded, shapes.iter().map(|(_, output)| output - 1).sum::<u32>());
    assert!(fake.passes.iter().all(|rows| rows.len() <= 8 && rows.is_sorted_by_key(|row| row.slot)));
}

#[test]
fn prefill_joins_decode_and_never_crowds_it_out() {
    let (mut scheduler, mut fake) = (Scheduler::new(limits()), Fake::default());
    scheduler.submit(request(0, &[TokenId(1); 2], 10), 0).unwrap();
    scheduler.step(&mut fake).unwrap();
    scheduler.submit(request(1, &[TokenId(1); 20], 2), 0).unwrap();
    let counts = scheduler.step(&mut fake).unwrap();
    assert_eq!(counts, StepCounts { prefill_tokens: 7, decode_seqs: 1 });
    assert_eq!(fake.passes[1].len(), 8);
    assert_eq!(scheduler.emitted().len(), 1);
}

#[test]
fn admission_waits_for_cache_room() {
    let tight = Limits { kv_tokens: 40, ..limits() };
    let (mut scheduler, mut fake) = (Scheduler::new(tight), Fake::default());
    for id in 0..3 {
        scheduler.submit(request(id, &[TokenId(1); 8], 10), 0).unwrap();
    }
    scheduler.step(&mut fake).unwrap();
    assert_eq!((scheduler.running(), scheduler.waiting()), (2, 1));
    let (emitted, _) = run(&mut scheduler, &mut fake);
    assert_eq!(emitted.iter().filter(|new| new.finish.is_some()).count(), 3);
}

#[test]
fn cancel_frees_the_slot_wherever_the_request_is() {
    let (mut scheduler, mut fake) = (Scheduler::new(Limits { kv_tokens: 96, ..limits() }), Fake::default());
    for id in 0..4 {
        scheduler.submit(request(id, &[TokenId(1); 6], 20), 0).unwrap();
    }
    scheduler.step(&mut fake).unwrap();
    // 0 decodes, 1 has two prompt tokens, 2 has none, 3 waits for a slot.
    assert_eq!(scheduler.kv_used(), 8);
    for id in [1, 3, 0] {
        assert!(scheduler.cancel(RequestId(id), &mut fake));
        assert!(!scheduler.cancel(RequestId(id), &mut fake));
    }
    assert_eq!((scheduler.running(), scheduler.waiting(), scheduler.kv_used()), (1, 0, 0));
    let (emitted, _) = run(&mut scheduler, &mut fake);
    assert!(emitted.iter().all(|new| new.request == RequestId(2)));
    assert_eq!(emitted.len(), 20);
}

#[test]
fn what_can_never_run_is_refused_with_both_numbers() {
    let scheduler = Scheduler::new(limits());
    for (prompt, output) in [(0, 1), (1, 0), (20, 13), (33, 1)] {
        let prompt = vec![TokenId(1); prompt];
        let error = scheduler.check(&request(9, &prompt, output)).unwrap_err();
        assert_eq!(error.kind, tacho::engine::ErrorKind::BadRequest);
        assert!(error.message.contains("at most 32"), "{error}");
    }
    let error = scheduler.check(&request(9, &[TokenId(100)], 1)).unwrap_err();
    assert!(error.message.contains("token id 100") && error.message.contains("100 rows"), "{error}");
    scheduler.check(&request(9, &[TokenId(99); 20], 12)).unwrap();
}

#[test]
fn after_a_failed_step_clear_makes_it_usable() {
    let (mut scheduler, mut fake) = (Scheduler::new(limits()), Fake::default());
    scheduler.submit(request(0, &[TokenId(1); 3], 9), 0).unwrap();
    scheduler.step(&mut fake).unwrap();
    fake.fail = true;
    scheduler.step(&mut fake).unwrap_err();
    scheduler.clear(&mut fake);
    assert!(scheduler.is_idle() && scheduler.kv_used() == 0);
    fake.fail = false;
    scheduler.submit(request(0, &[TokenId(1); 3], 9), 0).unwrap();
    assert_eq!(run(&mut scheduler, &mut fake).0.len(), 9);
}

#[test]
fn what_was_decoded_is_what_was_given() {
    let mut scheduler = Scheduler::new(limits());
    let mut fake = Fake::default();
    let prompts: [Vec<TokenId>; 4] = [19, 3, 11, 1].map(|length| (0..length).map(|id| TokenId(id % 90)).collect());
    let given = (0..).zip(&prompts).fold(0, |sum: u64, (id, prompt)| {
        sum.wrapping_add(tacho::engine::ids_digest(RequestId(id), prompt.iter().copied()))
    });
    for (id, prompt) in (0..).zip(&prompts) {
        scheduler.submit(request(id, prompt, 2), 0).unwrap();
    }
    run(&mut scheduler, &mut fake);
    assert_eq!(scheduler.consumed(), given);
    scheduler.clear(&mut fake);
    assert_eq!(scheduler.consumed(), 0);
}
