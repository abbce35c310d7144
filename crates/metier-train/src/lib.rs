//! Objective, optimizer, schedule, sampler and the one training loop.
