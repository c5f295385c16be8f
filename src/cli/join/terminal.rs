//! Lines in and lines out: with line editing when a person is at a terminal,
//! plainly otherwise.

use std::io::{self, BufRead as _, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::{DefaultEditor, ExternalPrinter, error::ReadlineError};
use tokio::sync::mpsc;

use crate::cli::output;

/// What comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// There is no more.
    End,
    /// Ctrl-C, where the terminal doesn't make it a signal.
    Interrupt,
    /// It can't be read: why.
    Failed(String),
}

/// Where lines are printed.
pub(super) enum Printer {
    /// Above the line that is being typed.
    Above(Box<dyn ExternalPrinter + Send>),
    /// As they are.
    Plain,
}

impl Printer {
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Above(printer) => printer.print(format!("{text}\n")).map_err(io::Error::other),
            Self::Plain => output::line(text),
        }
    }
}

/// Puts the terminal back as it was: the line editor may still be reading when
/// the command ends.
pub(super) struct Restore(Option<Termios>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // There is nobody left to tell.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Opens both directions. Lines are read by a thread of their own, because
/// reading a terminal can't be cancelled; it ends with the process.
pub(super) fn open(json: bool) -> (mpsc::Receiver<Line>, Printer, Restore, bool) {
    // One line at a time: what can't be sent yet is not read yet.
    let (lines, received) = mpsc::channel(1);
    let person = io::stdin().is_terminal() && io::stdout().is_terminal() && !json;
    if person && let Ok(mut editor) = DefaultEditor::new() {
        let restore = Restore(tcgetattr(io::stdin()).ok());
        if let Ok(printer) = editor.create_external_printer() {
            std::thread::spawn(move || edit(&mut editor, &lines));
            return (received, Printer::Above(Box::new(printer)), restore, true);
        }
        std::thread::spawn(move || read(&lines));
        return (received, Printer::Plain, restore, true);
    }
    std::thread::spawn(move || read(&lines));
    (received, Printer::Plain, Restore(None), person)
}

fn edit(editor: &mut DefaultEditor, lines: &mpsc::Sender<Line>) {
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => {
                // A line that the history doesn't take is sent all the same.
                let _ = editor.add_history_entry(&line);
                Line::Text(line)
            }
            Err(ReadlineError::Interrupted) => Line::Interrupt,
            Err(ReadlineError::Eof) => Line::End,
            Err(error) => Line::Failed(error.to_string()),
        };
        let last = !matches!(line, Line::Text(_));
        if lines.blocking_send(line).is_err() || last {
            return;
        }
    }
}

fn read(lines: &mpsc::Sender<Line>) {
    for line in io::stdin().lock().lines() {
        let line = line.map_or_else(|error| Line::Failed(error.to_string()), Line::Text);
        let last = !matches!(line, Line::Text(_));
        if lines.blocking_send(line).is_err() || last {
            return;
        }
    }
    // Nobody listens any more when the command is over already.
    let _ = lines.blocking_send(Line::End);
}
