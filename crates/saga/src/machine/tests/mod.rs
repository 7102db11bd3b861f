//! Tables and golden timelines: one script, one text.

mod operator;
mod outputs;
mod plans;
mod recovery;
mod runs;
mod script;
mod verdicts;
