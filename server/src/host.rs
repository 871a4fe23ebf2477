//! Where the server's loops run, and its calls that wait for the disk: the one place that knows of threads.
//!
//! `inkpotd` has threads for them ([`Host::Threads`]), because commits wait for the disk and nobody is to wait with them.
//! Where network, time and disk are simulated, a whole server is tasks of the one runtime that it was started in
//! ([`Host::Tasks`]), so that the same seed gives the same schedule. What runs is the same code.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::Poll,
    thread,
    time::Duration,
};
use tokio::{
    task,
    time::{Sleep, sleep},
};

/// Where loops and calls of the disk run.
#[derive(Clone, Copy, Debug, Default)]
pub enum Host {
    /// Loops on threads of their own, each with a runtime of its own; calls of the disk on threads that wait for nothing
    /// else.
    #[default]
    Threads,
    /// All of it in tasks of the runtime that it is started in. The disk must never wait; what it should have taken is
    /// waited for afterwards.
    Tasks(Slowness),
}

/// Asked after each step of a loop, and after each call of the disk: how long it took. A simulated disk is slow this way
/// without keeping the one thread.
#[derive(Clone, Copy, Debug)]
pub struct Slowness(pub fn() -> Duration);

impl Slowness {
    /// Nothing takes any time.
    pub const NONE: Self = Self(|| Duration::ZERO);

    /// Does this, and rests after each step as long as it took.
    async fn slow_down<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut rest: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            loop {
                if let Some(resting) = &mut rest
                    && resting.as_mut().poll(cx).is_pending()
                {
                    return Poll::Pending;
                }
                rest = None;
                let done = work.as_mut().poll(cx);
                let took = (self.0)();
                if done.is_ready() || took.is_zero() {
                    return done;
                }
                rest = Some(Box::pin(sleep(took)));
            }
        })
        .await
    }
}

/// A loop that was started.
#[derive(Debug)]
pub enum Worker {
    /// On a thread.
    Thread(thread::JoinHandle<()>),
    /// In a task.
    Task(task::JoinHandle<()>),
}

impl Host {
    /// Starts a loop. `name` is that of its thread, at most 15 bytes.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made.
    pub fn start(self, name: String, work: impl Future<Output = ()> + Send + 'static) -> io::Result<Worker> {
        match self {
            Self::Threads => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
                thread::Builder::new().name(name).spawn(move || runtime.block_on(work)).map(Worker::Thread)
            }
            Self::Tasks(slowness) => Ok(Worker::Task(task::spawn(slowness.slow_down(work)))),
        }
    }

    /// Makes a call that may wait for the disk, from a runtime that must not.
    ///
    /// # Errors
    /// If the call panicked.
    pub async fn blocking<T: Send + 'static>(self, call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            Self::Threads => task::spawn_blocking(call).await.map_err(io::Error::other),
            Self::Tasks(Slowness(took)) => {
                let done = call();
                sleep(took()).await;
                Ok(done)
            }
        }
    }
}

impl Worker {
    /// Whether the loop has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match self {
            Self::Thread(thread) => thread.is_finished(),
            Self::Task(task) => task.is_finished(),
        }
    }

    /// Waits for the end of the loop. What waits on a thread for another one needs a runtime of several threads.
    ///
    /// # Errors
    /// If the loop panicked.
    pub async fn join(self) -> io::Result<()> {
        let panicked = || io::Error::other("it panicked");
        match self {
            Self::Thread(thread) if thread.is_finished() => thread.join().map_err(|_| panicked()),
            Self::Thread(thread) => {
                task::spawn_blocking(move || thread.join()).await.map_err(io::Error::other)?.map_err(|_| panicked())
            }
            Self::Task(task) => task.await.map_err(io::Error::other),
        }
    }
}

#[cfg(test)]
mod tests;
