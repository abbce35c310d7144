use metier_compute::kernel::*;
use std::time::Duration;
fn main() {
    let c = measure_ceilings(Duration::from_millis(500));
    println!("{:.1}", c.f32_flop_per_second / 1e9);
    for (r, i, o) in [(2048,256,256),(2048,256,688),(2048,688,256),(2048,512,512),(2048,512,1376),(2048,1376,512),(1024,576,576),(1024,576,1536),(1024,1536,576)] {
        let d = Duration::from_millis(250);
        let f = Product { rows: r, columns: o, depth: i, left_turned: false, right_turned: true };
        let x = Product { rows: r, columns: i, depth: o, left_turned: false, right_turned: false };
        let w = Product { rows: o, columns: i, depth: r, left_turned: true, right_turned: false };
        let v: Vec<String> = [f, x, w].iter().map(|p| format!("{:.1}", p.flop() / p.measure(d) / 1e9)).collect();
        println!("{r} {i} {o} {}", v.join(" "));
    }
}
