//! Threads for what may take long, so that whoever reads the requests can go on reading.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Each may wait for the disk while the others go on.
const MOST: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// Dropped, it waits for what is under way.
#[derive(Debug, Default)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    closed: bool,
}

impl Workers {
    /// Threads are started when there is more to do than there are threads without work.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.queue();
        queue.jobs.push_back(Box::new(job));
        let wanted = queue.jobs.len() > queue.idle;
        drop(queue);
        self.shared.changed.notify_one();
        if wanted {
            self.start();
        }
    }

    fn start(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() == MOST {
            return;
        }
        let shared = self.shared.clone();
        match std::thread::Builder::new().name("fuse".to_owned()).spawn(move || shared.work()) {
            Ok(thread) => threads.push(thread),
            // Nobody would ever do it.
            Err(_) if threads.is_empty() => {
                while let Some(job) = { self.shared.queue().jobs.pop_front() } {
                    job();
                }
            }
            Err(_) => {}
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.queue();
            } else if queue.closed {
                return;
            } else {
                queue.idle += 1;
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_job_that_waits_for_another_one_gets_it() {
        let workers = Workers::default();
        let (sender, receiver) = channel();
        let (done, finished) = channel();
        workers.run(move || done.send(receiver.recv()).unwrap());
        workers.run(move || sender.send(7).unwrap());
        assert_eq!(finished.recv().unwrap(), Ok(7));
    }

    #[test]
    fn what_was_asked_for_is_done_before_it_ends() {
        let workers = Workers::default();
        let (sender, receiver) = channel();
        for number in 0..100 {
            let sender = sender.clone();
            workers.run(move || sender.send(number).unwrap());
        }
        drop((workers, sender));
        let mut done: Vec<i32> = receiver.iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..100).collect::<Vec<_>>());
    }
}
