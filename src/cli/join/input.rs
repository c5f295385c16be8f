//! A typed line, understood.

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Send to everyone.
    Say(String),
    /// Send to one, named by its id or the beginning of it.
    To(String, String),
    /// The type of what is sent from here on; empty for none.
    Type(String),
    /// List the connections.
    Who,
    /// Leave.
    Quit,
    /// Explain the commands.
    Help,
    /// An empty line.
    Nothing,
    /// None of these: why.
    Wrong(String),
}

/// What `/help` shows.
pub(super) const HELP: &str = "\
a line        is sent to everyone, you too
/to ID text   sends to one; the beginning of its id is enough
/type T       sets the type of what you send; /type alone: none
/who          lists who is here
/quit         leaves
//text        sends a line that begins with /";

/// Reads a line, without its line end.
pub(super) fn parse(line: &str) -> Input {
    let Some(command) = line.strip_prefix('/') else {
        return if line.is_empty() { Input::Nothing } else { Input::Say(line.to_owned()) };
    };
    if command.starts_with('/') {
        return Input::Say(command.to_owned());
    }
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    let argument = rest.trim();
    match name {
        "to" => match rest.trim_start().split_once(' ') {
            Some((id, text)) if !text.is_empty() => Input::To(id.to_owned(), text.to_owned()),
            _ => Input::Wrong("/to needs an id and a text: /to ID text".into()),
        },
        "type" => Input::Type(argument.to_owned()),
        "who" if argument.is_empty() => Input::Who,
        "quit" if argument.is_empty() => Input::Quit,
        "help" | "?" if argument.is_empty() => Input::Help,
        "who" | "quit" | "help" | "?" => Input::Wrong(format!("/{name} takes nothing after it")),
        _ => Input::Wrong(format!("/{name} is no command; /help lists them, //{name} sends it")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_command_is_understood() {
        for (line, input) in [
            ("hello there", Input::Say("hello there".into())),
            ("  spaces stay ", Input::Say("  spaces stay ".into())),
            ("", Input::Nothing),
            ("/to ab12 hello there", Input::To("ab12".into(), "hello there".into())),
            ("/type chat", Input::Type("chat".into())),
            ("/type", Input::Type(String::new())),
            ("/who", Input::Who),
            ("/quit", Input::Quit),
            ("/help", Input::Help),
            ("//quit", Input::Say("/quit".into())),
        ] {
            assert_eq!(parse(line), input, "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_not_sent() {
        for line in ["/to", "/to ab12", "/to ab12 ", "/quit now", "/qiut", "/", "/ x"] {
            assert!(matches!(parse(line), Input::Wrong(_)), "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_line_that_begins_with_no_slash_is_sent_as_it_is(line in "[^/].*") {
            prop_assert_eq!(parse(&line), Input::Say(line));
        }
    }
}
