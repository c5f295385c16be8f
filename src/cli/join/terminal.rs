//! Lines in and lines out: with line editing when a person is at a terminal,
//! plainly otherwise.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as std_mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::{DefaultEditor, ExternalPrinter, error::ReadlineError};
use tokio::sync::{mpsc, watch};

use crate::cli::output;

use super::input::{self, Input};

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
    Above(Above),
    /// As they are.
    Plain,
}

impl Printer {
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Above(above) => {
                above.line(text);
                Ok(())
            }
            Self::Plain => output::line(text),
        }
    }

    /// Whether what is to be printed is printed about as fast as it comes.
    pub(super) fn keeps_up(&self) -> bool {
        match self {
            Self::Above(above) => *above.waiting.borrow() < MOST_WAITING,
            Self::Plain => true,
        }
    }

    /// Waits until it does.
    pub(super) async fn catches_up(&self) {
        if let Self::Above(above) = self {
            // The sender is in hand: it can't be gone.
            let _ = above.waiting.subscribe().wait_for(|waiting| *waiting < MOST_WAITING).await;
        }
    }
}

/// A line that shows nothing: up, and down again.
const NOTHING: &str = "\u{1b}[A\n";

/// How many lines wait for a terminal that is slow, or stopped, before no more
/// events are read.
const MOST_WAITING: usize = 1_000;

/// Prints by a thread of its own. The editor takes a line only while it reads
/// the terminal; if the one who takes what was typed waited for that, each
/// would wait for the other.
pub(super) struct Above {
    lines: Option<std_mpsc::Sender<String>>,
    waiting: watch::Sender<usize>,
    printing: Option<JoinHandle<()>>,
}

impl Above {
    fn new(mut printer: impl ExternalPrinter + Send + 'static, editing: Arc<AtomicBool>) -> Self {
        let (lines, to_print) = std_mpsc::channel::<String>();
        let waiting = watch::Sender::new(0_usize);
        let fewer = waiting.clone();
        let printing = std::thread::spawn(move || {
            for text in to_print {
                // When the editor is gone there is no line to print above; when
                // the terminal is, there is nobody left to tell.
                let _ = printer.print(format!("{text}\n")).or_else(|_| output::line(&text));
                fewer.send_modify(|waiting| *waiting -= 1);
            }
            // The editor holds one line that it has not printed yet, and prints
            // one at a time: when it has taken two more, the last is printed.
            for _ in 0..2 {
                if editing.load(Ordering::SeqCst) {
                    let _ = printer.print(NOTHING.to_owned());
                }
            }
        });
        Self { lines: Some(lines), waiting, printing: Some(printing) }
    }

    fn line(&mut self, text: &str) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        if let Some(lines) = &self.lines {
            // The thread goes on as long as there is something to print.
            let _ = lines.send(text.to_owned());
        }
    }
}

/// Waits until all is handed to the editor; one that waits for what was typed
/// to be taken must have been let go before.
impl Drop for Above {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(printing) = self.printing.take() {
            // A panic there has told itself.
            let _ = printing.join();
        }
    }
}

/// Puts the terminal back as it was: the line editor may still be reading when
/// the command ends.
pub(super) struct Restore {
    before: Option<Termios>,
    editing: Arc<AtomicBool>,
}

/// The editor shows what was being typed again after each line that it prints,
/// in well under this, and can't be asked whether it is done.
const SHOWN_WITHIN: Duration = Duration::from_millis(50);

impl Drop for Restore {
    fn drop(&mut self) {
        if self.editing.load(Ordering::SeqCst) {
            std::thread::sleep(SHOWN_WITHIN);
            // What comes next begins below the line that was being typed.
            let _ = output::line("");
        }
        if let Some(before) = &self.before {
            // There is nobody left to tell.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Opens both directions. Lines are read by a thread of their own, because
/// reading a terminal can't be cancelled; it ends with the process.
pub(super) fn open(json: bool) -> (mpsc::Receiver<Line>, Printer, Option<Restore>, bool) {
    // One line at a time: what can't be sent yet is not read yet.
    let (lines, received) = mpsc::channel(1);
    let person = io::stdin().is_terminal() && io::stdout().is_terminal() && !json;
    if person && let Ok(mut editor) = DefaultEditor::new() {
        let editing = Arc::new(AtomicBool::new(false));
        let restore = Restore { before: tcgetattr(io::stdin()).ok(), editing: Arc::clone(&editing) };
        if let Ok(printer) = editor.create_external_printer() {
            editing.store(true, Ordering::SeqCst);
            let above = Above::new(printer, Arc::clone(&editing));
            std::thread::spawn(move || {
                edit(&mut editor, &lines);
                editing.store(false, Ordering::SeqCst);
            });
            return (received, Printer::Above(above), Some(restore), true);
        }
    }
    std::thread::spawn(move || read(&lines));
    (received, Printer::Plain, None, person)
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
        // No new prompt for one who leaves.
        let goes_on = matches!(&line, Line::Text(text) if input::parse(text) != Input::Quit);
        if lines.blocking_send(line).is_err() || !goes_on {
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
