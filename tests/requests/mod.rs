//! A sink that keeps a trial's requests.
use std::io;

use tacho::cell::{
    drive::RecordSink,
    protocol::{RequestRow, StepRow, TokenRow},
};

#[derive(Default)]
pub struct Requests(pub Vec<RequestRow>);

impl RecordSink for Requests {
    fn tokens(&mut self, _: &[TokenRow]) -> io::Result<()> {
        Ok(())
    }
    fn requests(&mut self, rows: &[RequestRow]) -> io::Result<()> {
        self.0.extend_from_slice(rows);
        Ok(())
    }
    fn steps(&mut self, _: &[StepRow]) -> io::Result<()> {
        Ok(())
    }
    fn progress(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
