//! Scenario, metric and report.
