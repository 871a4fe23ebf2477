#![allow(clippy::unwrap_used)]

use super::*;
use std::thread;
use tokio::sync::oneshot;

#[tokio::test]
async fn loop_of_a_thread_has_a_thread_of_its_own_and_that_of_a_task_has_not() {
    for (host, is_ours) in [(Host::Threads, false), (Host::Tasks(Slowness::NONE), true)] {
        let (tell, told) = oneshot::channel();
        let worker =
            host.start("worker".to_owned(), async move { tell.send(thread::current().id()).unwrap() }).unwrap();
        assert_eq!(told.await.unwrap() == thread::current().id(), is_ours, "{host:?}");
        worker.join().await.unwrap();
        let called_on = host.blocking(|| thread::current().id()).await.unwrap();
        assert_eq!(called_on == thread::current().id(), is_ours, "{host:?}");
    }
}

#[tokio::test]
async fn loop_that_panicked_has_ended_and_says_so() {
    for host in [Host::Threads, Host::Tasks(Slowness::NONE)] {
        let (tell, told) = oneshot::channel::<()>();
        let worker = host
            .start("worker".to_owned(), async move {
                let _tell = tell;
                panic!("as the test wants it");
            })
            .unwrap();
        assert!(told.await.is_err());
        assert!(worker.join().await.is_err(), "{host:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn loop_rests_after_each_step_for_as_long_as_it_took() {
    thread_local! {
        static TOOK: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
    }
    let host = Host::Tasks(Slowness(|| TOOK.take()));
    let begin = tokio::time::Instant::now();
    let (tell, told) = oneshot::channel();
    let work = async move {
        TOOK.set(Duration::from_secs(3));
        task::yield_now().await;
        tell.send(tokio::time::Instant::now()).unwrap();
    };
    host.start("worker".to_owned(), work).unwrap();
    assert_eq!(told.await.unwrap() - begin, Duration::from_secs(3));
    host.blocking(|| TOOK.set(Duration::from_secs(2))).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
}
