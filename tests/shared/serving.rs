// For the examples in the documentation: a server of their own, beside what they show.

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    serve: signalbox::server::ServeArgs,
}

pub fn serving(work: impl AsyncFnOnce(String) -> Result<(), Box<dyn std::error::Error>>) {
    let flags = ["example", "--listen", "127.0.0.1:0", "--admin-listen", "none"];
    let config = <Flags as clap::Parser>::parse_from(flags).serve.check().unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let server = signalbox::server::Server::bind(config).unwrap();
        let url = format!("http://{}", server.grpc_address().unwrap());
        tokio::select! {
            () = server.run(std::future::pending()) => unreachable!("it serves until it is told to end"),
            done = work(url) => done.unwrap(),
        }
    });
}
