//! Printing the story as it happens.

use std::time::Instant;

use anstyle::{AnsiColor, Style};
use anyhow::Result;

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

/// Where the steps' titles end.
const TITLE_WIDTH: usize = 62;
/// How much of an outcome is shown beside its title.
const OUTCOME_WIDTH: usize = 110;

/// Counts what came out right and what did not.
#[derive(Debug, Default)]
pub struct Stage {
    right: usize,
    wrong: usize,
}

impl Stage {
    /// Begins a scene.
    #[allow(
        clippy::unused_self,
        reason = "all that is printed goes through the stage"
    )]
    pub fn heading(&mut self, text: &str) {
        anstream::println!("\n{BOLD}{text}{BOLD:#}");
    }

    /// Says something between steps.
    #[allow(
        clippy::unused_self,
        reason = "all that is printed goes through the stage"
    )]
    pub fn remark(&mut self, text: &str) {
        anstream::println!("  {FAINT}{text}{FAINT:#}");
    }

    /// Plays one step and prints how it came out and how long it took; answers what it brought.
    pub async fn step<T>(
        &mut self,
        title: &str,
        play: impl Future<Output = Result<(T, String)>>,
    ) -> Option<T> {
        let start = Instant::now();
        let outcome = play.await;
        let took = format!("{:.1} ms", start.elapsed().as_secs_f64() * 1e3);
        match outcome {
            Ok((brought, text)) => {
                self.right += 1;
                let text = shortened(&text);
                anstream::println!(
                    "  {GREEN}✓{GREEN:#} {title:TITLE_WIDTH$} {took:>10}  {FAINT}{text}{FAINT:#}"
                );
                Some(brought)
            }
            Err(error) => {
                self.wrong += 1;
                anstream::println!(
                    "  {RED}✗ {title:TITLE_WIDTH$}{RED:#} {took:>10}\n      {RED}{error:#}{RED:#}"
                );
                None
            }
        }
    }

    /// Says how it went altogether.
    pub fn sum_up(&self) -> bool {
        let all = self.right + self.wrong;
        if self.wrong == 0 {
            anstream::println!("\n{GREEN}✓ all {all} steps came out right{GREEN:#}");
        } else {
            anstream::println!(
                "\n{RED}✗ {} of {all} steps did not come out right{RED:#}",
                self.wrong
            );
        }
        self.wrong == 0
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= OUTCOME_WIDTH {
        return text.to_owned();
    }
    text.chars().take(OUTCOME_WIDTH - 1).chain(['…']).collect()
}
