//! The `http` rung's server: the engine's own, started as the cell that ran was set up, or one that runs already.
use super::{
    engine::{Measured, Process},
    record::ServerRecord,
    seat::{Seat, ServerSeat},
};
use crate::{
    engine::EngineInfo,
    http::{Client, Recipe, Server, ServerEntry},
    secrets,
};

const NOT_OURS: &str = "the server was running already: whether it has the same version, weights, number type and limits is not known to \
                        Tacho, and it is not stopped while others have their turns";

impl Measured<'_> {
    /// Looks for the server's program, which needs no loaded engine.
    pub(super) fn server_is_there(&self, entry: &ServerEntry) -> Result<(), String> {
        let (program, python) = (self.ask.server.as_deref(), self.python());
        Recipe { entry, program, python: python.as_deref(), load: &self.load, info: None }.command(0).map(drop)
    }

    /// A server that can be asked.
    pub(super) fn serve(&mut self) -> Result<Seat, String> {
        let (server, mut record) = match &self.ask.endpoint {
            Some(endpoint) => {
                let endpoint = Some(secrets::redact(endpoint.as_str()));
                (None, ServerRecord { endpoint, ..self.record_of(Vec::new()) })
            }
            None => self.start().map(|(server, record)| (Some(server), record))?,
        };
        let endpoint = match (&server, &self.ask.endpoint) {
            (Some(server), _) => server.endpoint().clone(),
            (None, Some(endpoint)) => endpoint.clone(),
            (None, None) => return Err("there is neither a server of Tacho's nor one that was named".to_owned()),
        };
        record.model = match self.ask.endpoint_model.clone().filter(|_| server.is_none()) {
            Some(named) => named,
            None => {
                let client = Client::new(&endpoint, 1, self.plan.load_within);
                client.first_model().map_err(|error| error.to_string())?
            }
        };
        let model = record.model.clone();
        if self.ledger.server.is_none() {
            self.ledger.notes.extend(server.is_none().then(|| NOT_OURS.to_owned()));
            self.ledger.server = Some(record);
        }
        Ok(Seat::Server(Box::new(ServerSeat::new(server, endpoint, model))))
    }

    fn start(&mut self) -> Result<(Server, ServerRecord), String> {
        let entry = self.entry.server.as_ref().ok_or("Tacho knows no server of this engine")?;
        // With child processes where there are such: that is how a server runs it.
        let cells = [Process::ChildCore, Process::ChildText, Process::InCore];
        let info: Option<&EngineInfo> = cells.iter().find_map(|process| self.ledger.cells.get(process.name()));
        let info = info.ok_or("no cell of this engine could be loaded, by whose settings it would be started")?;
        let (program, python) = (self.ask.server.as_deref(), self.python());
        let recipe = Recipe { entry, program, python: python.as_deref(), load: &self.load, info: Some(info) };
        let log = self.ask.folder.join("logs").join(format!("{}-server.log", self.load.engine));
        let (command, env) = (|port| recipe.command(port), recipe.env());
        let (tacho, within, interrupted) = (&self.ask.tacho, self.plan.load_within, self.ask.interrupted);
        let server = Server::start(tacho, &command, &env, &entry.health, &log, within, interrupted);
        let server = server.map_err(|error| error.to_string())?;
        let shown = recipe.command(server.port())?;
        let told = if self.ledger.server.is_none() { recipe.version() } else { None };
        let note = told.as_ref().and_then(|told| version_note(told, &info.version));
        let version = told.and_then(Result::ok);
        let record = self.record_of(shown.iter().map(|word| word.to_string_lossy().into_owned()).collect());
        self.ledger.notes.extend(note);
        Ok((server, ServerRecord { environment: env, version, ..record }))
    }

    fn record_of(&self, command: Vec<String>) -> ServerRecord {
        ServerRecord {
            command: (!command.is_empty()).then(|| secrets::redact_command(command)),
            environment: std::collections::BTreeMap::new(),
            endpoint: None,
            version: None,
            model: String::new(),
            prompt: self.prompt,
        }
    }
}

/// What is to be said of a server's version beside the cell's, each a number and then words.
fn version_note(server: &Result<String, String>, cell: &str) -> Option<String> {
    let number = |version: &str| version.split_whitespace().next().map(str::to_owned);
    match server {
        Ok(server) if number(server) == number(cell) => None,
        Ok(server) => Some(format!(
            "the server is version {server} and the cell's engine {cell}: what lies between http and the other rungs is what the \
             versions differ by, too"
        )),
        Err(why) => Some(format!("which version the server is, is not known: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_and_an_unknown_one_are_said() {
        let server = Ok("0.5.0-dev (build 0, commit abc)".to_owned());
        assert_eq!(version_note(&server, "0.5.0-dev (own build)"), None);
        let note = version_note(&server, "0.6.0-dev (llama-cpp-sys-2 0.1.161)").unwrap();
        assert!(note.contains("0.5.0-dev (build 0, commit abc)") && note.contains("0.6.0-dev (llama"), "{note}");
        let note = version_note(&Err("it hung".to_owned()), "0.6.0-dev").unwrap();
        assert!(note.contains("not known: it hung"), "{note}");
    }
}
