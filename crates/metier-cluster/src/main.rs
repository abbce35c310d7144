//! `metier-cluster`: reads, filters and tags documents on many machines, for `metier run --cluster`.
//!
//! A Ballista cluster: one scheduler, and executors that see the corpus under the same path. The plan is that of one machine:
//! [`documents`] reads files, the function [`look`] asks filters and taggers, and what they say goes back in the order of the
//! files ([`client`]), where `metier` searches duplicates and splits. So documents are the same wherever they were looked into,
//! and however often an executor was lost on the way.
//!
//! | file | answers |
//! |---|---|
//! | `work` | what is asked of an executor, and with which parts |
//! | `documents` | which documents are in these files |
//! | `look` | what do filters and taggers say of them |
//! | `codec` | how do plans travel |
//! | `client` | who asks, in which order, and again |
//! | `scheduler`, `executor` | the processes of a cluster |

mod client;
mod codec;
mod documents;
mod executor;
mod look;
mod scheduler;
mod work;

use clap::Parser as _;
use std::process::ExitCode;

/// A cluster that reads, filters and tags documents for `metier run --cluster`
#[derive(Debug, clap::Parser)]
#[command(
    name = "metier-cluster",
    bin_name = "metier cluster",
    version,
    max_term_width = 100,
    after_help = "Example, on one machine:\n  metier cluster scheduler &\n  metier cluster executor &\n  metier cluster executor &\n  metier run recipes/dolma.toml --cluster 127.0.0.1:50050\nExecutors see the corpus, and what filters and taggers read, under the same paths as `metier run`, and run in the same folder. \
                  Whoever reaches a port may use it: keep them inside a network that you trust."
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Scheduler(scheduler::Arguments),
    Executor(executor::Arguments),
    /// Ask a cluster: the task on standard input, what is said of each document on standard output
    #[command(hide = true)]
    Look(client::Arguments),
}

fn main() -> ExitCode {
    if let Some(code) = metier_corpus::pdf::answer() {
        return code;
    }
    let arguments = Arguments::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Plans are planned recursively.
        .thread_stack_size(16 << 20)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::from(2);
        }
    };
    let done = runtime.block_on(async {
        match arguments.verb {
            Verb::Scheduler(arguments) => scheduler::run(arguments).await,
            Verb::Executor(arguments) => executor::run(arguments).await,
            Verb::Look(arguments) => client::run(arguments).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
