//! A fleet of 20 members with 100,000 users for three days: `cargo bench --package ibkr-oauth-fleet`. It prints figures and
//! judges nothing; `SEED=7` runs another one. The tests run the same with fewer users, and judge.

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::time::{Duration, Instant};

use simulation::{DAY, Figures, HOUR, MINUTE, Plan, World};

fn main() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let begin = Instant::now();
    let plan = Plan {
        seed,
        users: 100_000,
        workers: 20,
        shards: 1024,
        takeover: Duration::from_secs(30),
        length: DAY * 3,
        crashes: 4.0,
        pauses: 6.0,
        partitions: 6.0,
        outages: vec![(HOUR * 20, MINUTE * 20), (HOUR * 50, MINUTE)],
        losses: 1,
    };
    println!("{plan:#?}");
    let figures = World::run(&plan);
    println!("{figures:#?}");
    println!("logins per user and day: {:.4}", figures.logins_per_user_and_day());
    println!("the fewest possible:     {:.4}", Figures::fewest_possible());
    println!("took {:.1?}", begin.elapsed());
}
