//! A service that runs each request in a container of its own, with tokio, and tells how long that takes.

mod common;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Result, Stage, example};
use runtime_core::{Bundle, Containers, CreateOptions, Process, Stream};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const REQUESTS: usize = 200;
const CLIENTS: usize = 8;

fn main() -> ExitCode {
    example("pool", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    let bundle = Arc::new(Bundle::from_json(&stage.directory, stage.config(&[]).to_string())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{REQUESTS} requests of {CLIENTS} clients, each in a fresh container:");
    let begin = Instant::now();
    let mut times = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(serve(listener, stage.containers.clone(), bundle));
        let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(ask(address, client))).collect();
        let mut times = Vec::new();
        for client in clients {
            times.extend(client.await??);
        }
        server.abort();
        Result::Ok(times)
    })?;
    let took = begin.elapsed();
    times.sort();
    let at = |part: f64| times[(part * (times.len() - 1) as f64) as usize];
    println!("    {:>8} {:>10}", "", "ms");
    for (name, part) in [("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("slowest", 1.0)] {
        println!("    {name:>8} {:>10.2}", at(part).as_secs_f64() * 1e3);
    }
    let rate = times.len() as f64 / took.as_secs_f64();
    println!("    {rate:.0} requests a second");
    stage.check("answers, each right", times.len(), times.len() == REQUESTS);
    let left = stage.containers.list()?.len();
    stage.check("containers that are left", left, left == 0);
    Ok(())
}

/// A client: what it sends comes back in capitals.
async fn ask(address: std::net::SocketAddr, client: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..REQUESTS / CLIENTS {
        let begin = Instant::now();
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("request {number} of client {client}");
        stream.write_all(request.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        if answer != request.to_uppercase() {
            return Err(format!("asked {request:?}, got {answer:?}").into());
        }
        times.push(begin.elapsed());
    }
    Ok(times)
}

async fn serve(listener: TcpListener, containers: Containers, bundle: Arc<Bundle>) -> Result {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let (mut stream, _) = listener.accept().await?;
        let (containers, bundle) = (containers.clone(), bundle.clone());
        tokio::spawn(async move {
            let id = format!("request-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await?;
            match answer(containers, &bundle, id, request).await {
                Ok(answer) => stream.write_all(&answer).await?,
                Err(error) => stream.write_all(format!("error: {error}").as_bytes()).await?,
            }
            stream.shutdown().await
        });
    }
}

/// Runs one request. Making a container takes some milliseconds of this thread; its work takes none.
async fn answer(containers: Containers, bundle: &Bundle, id: String, request: Vec<u8>) -> Result<Vec<u8>> {
    let (input, mut to) = std::io::pipe()?;
    let (mut from, output) = std::io::pipe()?;
    let mut options = CreateOptions::default();
    options.stdio.stdin = Stream::Fd(OwnedFd::from(input));
    options.stdio.stdout = Stream::Fd(OwnedFd::from(output));
    options.stdio.stderr = Stream::Null;
    let container = containers.create(&id, bundle, options)?;
    let run = async {
        container.start()?;
        // Both fit into the pipes: nobody has to wait.
        to.write_all(&request)?;
        drop(to);
        ended(container.init().ok_or("it has no process")?).await?;
        let mut answer = Vec::new();
        from.read_to_end(&mut answer)?;
        Result::Ok(answer)
    };
    let answer = run.await;
    container.delete(true)?;
    answer
}

/// Waits without keeping a thread: a pidfd polls as readable.
#[allow(unsafe_code)]
async fn ended(process: &Process) -> Result {
    // SAFETY: the borrowed handle stays open while `process` is borrowed.
    let handle = unsafe { AsyncFd::register(process.as_fd()) }.map_err(std::io::Error::from)?;
    loop {
        let mut guard = handle.readable().await?;
        if process.try_wait()?.is_some() {
            return Ok(());
        }
        guard.clear_ready();
    }
}

fn inside(_: &[String]) -> Result {
    let mut request = String::new();
    std::io::stdin().read_to_string(&mut request)?;
    print!("{}", request.to_uppercase());
    Ok(())
}
