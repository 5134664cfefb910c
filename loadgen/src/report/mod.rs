//! Records of what was measured, and what people read of them.
//!
//! | file | what it is |
//! |---|---|
//! | `outcome` | the record of one run |
//! | `rounds` | median, least and greatest over several rounds |
//! | `comparison`, `scenario` | the records of several runs |
//! | `machine` | the machine and command of a record |
//! | `format` | numbers with units |
//! | `print` | JSON and tables on stdout |
//! | `axis`, `plot`, `page` | charts as SVG, and an HTML page that needs nothing beside it |
//! | `load_page`, `comparison_page`, `scenario_page` | the page of each record |

mod axis;
pub mod comparison;
pub mod comparison_page;
pub mod format;
pub mod load_page;
pub mod machine;
pub mod outcome;
pub mod page;
mod plot;
pub mod print;
pub mod rounds;
pub mod scenario;
pub mod scenario_page;
