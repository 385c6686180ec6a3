//! `conformance --measure N`: the mean time of a container's life, part by part.

use std::time::{Duration, Instant};

use crate::kit::{self, Place};

/// Runs N containers of `true` one after the other.
pub(crate) fn run(count: u32) {
    let place = Place::new();
    let names = ["create", "start", "end", "delete"];
    let mut sums = [Duration::ZERO; 4];
    for _ in 0..count {
        let value = kit::spec_value(&place, &["/bin/busybox", "true"]);
        let (io, _ends) = kit::pipes();
        let bundle = kit::bundle(&place, value);
        let mut times = [Instant::now(); 5];
        let mut sandbox = kit::create_in(&bundle, io).unwrap();
        times[1] = Instant::now();
        sandbox.start().unwrap();
        times[2] = Instant::now();
        while sandbox.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(20));
        }
        times[3] = Instant::now();
        sandbox.delete().unwrap();
        times[4] = Instant::now();
        sums.iter_mut().zip(times.windows(2)).for_each(|(sum, pair)| *sum += pair[1] - pair[0]);
    }
    let total: Duration = sums.iter().sum();
    println!("{count} containers, {:?} each", total / count);
    names.iter().zip(sums).for_each(|(name, sum)| println!("  {name:<8}{:?}", sum / count));
}
