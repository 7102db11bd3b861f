//! What went wrong, in one line and an exit code.

#[cfg(feature = "kafka")]
use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use http::StatusCode;
use serde_json::Value;
#[cfg(feature = "kafka")]
use steadfast_core::{Classified, ErrorKind};

use crate::print;

/// Why a command ends without its result.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The command line, a file or the token: nothing was done.
    Usage(String),
    /// It was asked for, and the answer is no.
    Refused(String),
    /// No orchestrator or database, or no whole answer of it.
    Unreachable(String),
}

impl Fault {
    /// Says it on stderr; with what the process ends.
    pub(crate) fn end(&self) -> ExitCode {
        print::talk(&format!("steadfast: {self}"));
        ExitCode::from(self.code())
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }

    /// Of a library's error, by its kind.
    #[cfg(feature = "kafka")]
    #[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
    pub(crate) fn of<E: Error + Classified>(error: E) -> Self {
        let text = chain(&error);
        if error.kind() == ErrorKind::Transient { Self::Unreachable(text) } else { Self::Refused(text) }
    }

    /// Says where; the same fault.
    #[cfg(feature = "kafka")]
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Usage(text) => Self::Usage(format!("{place}: {text}")),
            Self::Refused(text) => Self::Refused(format!("{place}: {text}")),
            Self::Unreachable(text) => Self::Unreachable(format!("{place}: {text}")),
        }
    }

    /// Says more; the same fault.
    pub(crate) fn with(self, more: &str) -> Self {
        match self {
            Self::Usage(text) => Self::Usage(format!("{text}; {more}")),
            Self::Refused(text) => Self::Refused(format!("{text}; {more}")),
            Self::Unreachable(text) => Self::Unreachable(format!("{text}; {more}")),
        }
    }

    /// What an answer that is no success says: a problem's title, detail and faults, or its status where it is none.
    pub(crate) fn of_answer(status: StatusCode, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str);
        let Some(title) = text("title") else {
            return Self::Refused(format!("status {status}, and no problem: is this the address of an orchestrator?"));
        };
        let mut line = title.to_owned();
        if let Some(detail) = text("detail") {
            line = format!("{line}: {detail}");
        }
        let faults: Vec<_> = problem["faults"].as_array().into_iter().flatten().filter_map(fault).collect();
        if !faults.is_empty() {
            line = format!("{line}; {}", faults.join("; "));
        }
        Self::Refused(line)
    }
}

/// An error and its causes in one line.
#[cfg(feature = "kafka")]
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors say what their cause says.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// One of a problem's faults: where, what, and the way out.
fn fault(fault: &Value) -> Option<String> {
    let text = |name: &str| fault.get(name).and_then(Value::as_str);
    let what = text("fault")?;
    let place = match (fault["line"].as_u64(), fault["column"].as_u64()) {
        (Some(line), Some(column)) => format!("{line}:{column}: "),
        _ => String::new(),
    };
    let path = text("path").filter(|path| !path.is_empty()).map_or(String::new(), |path| format!("{path}: "));
    let way_out = text("way_out").filter(|way| !way.is_empty()).map_or(String::new(), |way| format!(" ({way})"));
    Some(format!("{place}{path}{what}{way_out}"))
}

impl fmt::Display for Fault {
    /// In one line: what others wrote may have more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Refused(text) | Self::Unreachable(text)) = self;
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        f.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_with_all_its_faults() {
        let body = serde_json::json!({
            "title": "Not valid", "detail": "2 faults\nin all",
            "faults": [
                {"path": "steps.a", "line": 3, "column": 7, "fault": "unknown", "way_out": "use b"},
                {"path": "", "line": null, "column": null, "fault": "empty", "way_out": ""},
            ],
        });
        let fault = Fault::of_answer(StatusCode::UNPROCESSABLE_ENTITY, body.to_string().as_bytes());
        assert_eq!(fault.to_string(), "Not valid: 2 faults in all; 3:7: steps.a: unknown (use b); empty");
        assert_eq!(fault.code(), 1);
    }

    #[test]
    fn what_is_no_problem_shows_its_status() {
        for body in ["", "<html>", "[]", "{\"title\": 3}"] {
            let fault = Fault::of_answer(StatusCode::NOT_FOUND, body.as_bytes());
            assert!(fault.to_string().starts_with("status 404"), "{fault}");
        }
    }
}
