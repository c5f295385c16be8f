//! Says what `cargo test` alone leaves out. Not a test: the harness would
//! swallow what it prints.

fn main() {
    println!(
        "\nleft out here, run by tests/all: Python against the release binary, the documents' commands, the same over \
         Redis, h2spec, \
         counting the instructions of the hot paths, buf lint and breaking, packages"
    );
}
