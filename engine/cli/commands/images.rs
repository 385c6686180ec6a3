//! `berth images`, `berth image ls`.

use berth_api::models::ImageSummary;
use serde_json::{Value, json};

use super::Act;
use super::each::filters;
use crate::output::human::{ago, short_id, short_size};
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

const COLUMNS: &[Column] =
    &[("REPOSITORY", "Repository"), ("TAG", "Tag"), ("IMAGE ID", "ID"), ("CREATED", "CreatedSince"), ("SIZE", "Size")];
const FURTHER: &[Column] = &[
    ("DIGEST", "Digest"),
    ("CREATED AT", "CreatedAt"),
    ("CONTAINERS", "Containers"),
    ("VIRTUAL SIZE", "VirtualSize"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
];

impl Act for Images {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let mut wanted = self.filter.clone();
        wanted.extend(self.reference.iter().map(|reference| format!("reference={reference}")));
        let mut query = vec![("all", u8::from(self.all).to_string()), ("digests", u8::from(self.digests).to_string())];
        query.extend(filters(&wanted)?.map(|filters| ("filters", filters)));
        let images: Vec<ImageSummary> = session.client.get("/images/json", &query).await?;
        let rows: Vec<Value> = images.iter().flat_map(|image| rows(image, self.no_trunc)).collect();
        let mut columns = COLUMNS.to_vec();
        if self.digests {
            columns.insert(2, ("DIGEST", "Digest"));
        }
        let style = Style { format: self.format.as_deref(), quiet: self.quiet.then_some("ID"), labels: &[] };
        table::print(style, &columns, FURTHER, &rows)?;
        Ok(0)
    }
}

/// One row a tag; an image without any is `<none>`.
fn rows(image: &ImageSummary, whole: bool) -> Vec<Value> {
    let tags: Vec<(String, String)> = image
        .repo_tags
        .iter()
        .filter(|tag| *tag != "<none>:<none>")
        .filter_map(|tag| tag.rsplit_once(':').map(|(repository, tag)| (repository.to_owned(), tag.to_owned())))
        .collect();
    let tags = if tags.is_empty() { vec![("<none>".to_owned(), "<none>".to_owned())] } else { tags };
    let unknown = |number: i64| if number < 0 { "N/A".to_owned() } else { number.to_string() };
    tags.into_iter()
        .map(|(repository, tag)| {
            let digest = image.repo_digests.iter().find_map(|digest| digest.strip_prefix(&format!("{repository}@")));
            json!({
                "Repository": repository,
                "Tag": tag,
                "Digest": digest.unwrap_or("<none>"),
                "ID": if whole { &image.id } else { short_id(&image.id) },
                "CreatedSince": ago(image.created),
                "CreatedAt": jiff::Timestamp::from_second(image.created).map(|time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()).unwrap_or_default(),
                "Size": short_size(image.size),
                "VirtualSize": short_size(image.size),
                "Containers": unknown(image.containers),
                "SharedSize": if image.shared_size < 0 { "N/A".to_owned() } else { short_size(image.shared_size) },
                "UniqueSize": if image.shared_size < 0 { "N/A".to_owned() } else { short_size(image.size - image.shared_size) },
            })
        })
        .collect()
}
