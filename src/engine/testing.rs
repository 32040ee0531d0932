//! Doubles of an engine, for tests.
use super::{
    Completions, Engine, EngineError, EngineInfo, EventBuf, LoadConfig, Options, Request, RequestBatch, RequestId,
    Stats, sim::Sim,
};

/// The simulated engine in virtual time.
pub(crate) fn sim() -> Sim {
    Sim::load(&LoadConfig {
        engine: "sim".to_owned(),
        model: None,
        max_seqs: 4,
        max_model_len: 64,
        seed: 1,
        options: Options::from([("time".to_owned(), "virtual".into())]),
    })
    .unwrap()
}

type Poll = dyn FnMut(&EventBuf, &mut EventBuf);
type Text = dyn FnMut(&Completions, bool) -> u64;

/// The simulated engine, but what it says is changed: a double.
pub(crate) struct Changed {
    pub sim: Sim,
    /// Makes of what a poll gave what it gives.
    pub poll: Option<Box<Poll>>,
    /// How many characters a call with text came to, of its outputs and whether they were to be decoded; None for no such door.
    pub text: Option<Box<Text>>,
}

impl Engine for Changed {
    fn info(&self) -> &EngineInfo {
        self.sim.info()
    }

    fn generate(&mut self, batch: &RequestBatch) -> Result<Completions, EngineError> {
        self.sim.generate(batch)
    }

    fn generate_text(
        &mut self,
        batch: &RequestBatch,
        texts: Option<&[String]>,
        detokenise: bool,
    ) -> Result<(Completions, u64), EngineError> {
        let Some(text) = &mut self.text else { return self.sim.generate_text(batch, texts, detokenise) };
        let done = self.sim.generate(batch)?;
        let characters = text(&done, detokenise);
        Ok((done, characters))
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), EngineError> {
        self.sim.submit(request)
    }

    fn poll(&mut self, deadline_ns: u64, out: &mut EventBuf) -> Result<(), EngineError> {
        let Some(change) = &mut self.poll else { return self.sim.poll(deadline_ns, out) };
        let mut said = EventBuf::default();
        self.sim.poll(deadline_ns, &mut said)?;
        change(&said, out);
        Ok(())
    }

    fn cancel(&mut self, id: RequestId) -> Result<(), EngineError> {
        self.sim.cancel(id)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.sim.reset()
    }

    fn stats(&mut self) -> Stats {
        self.sim.stats()
    }

    fn shutdown(&mut self) -> Result<(), EngineError> {
        self.sim.shutdown()
    }

    fn now_ns(&self) -> u64 {
        self.sim.now_ns()
    }
}
