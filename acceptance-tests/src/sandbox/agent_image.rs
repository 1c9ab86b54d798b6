//! An image that holds an agent and nothing else, as a user would build it for `agent_image`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use pgha_schema::names::AGENT_IN_IMAGE;
use sha2::{Digest as _, Sha256};

use super::Sandbox;
use super::layers::{Image, Layer, write_archive};
use super::node::import;

impl Sandbox {
    /// Gives every node an image with this agent; gives its name.
    ///
    /// # Errors
    /// When it can't be made or imported.
    pub fn agent_image(&self, binary: &[u8]) -> Result<String> {
        let hash = hex::encode(Sha256::digest(binary));
        let file = AGENT_IN_IMAGE.trim_start_matches('/');
        let tag = format!("docker.io/library/{file}:{}", &hash[..16]);
        let folder = self.layout().run().join(format!("image-{}", &hash[..16]));
        fs::create_dir_all(&folder)?;
        let mut layer = Layer::create(&folder.join("layer"))?;
        layer.file(file, 0o755, binary)?;
        let image = Image {
            tags: vec![tag.clone()],
            layers: vec![layer.finish()?],
            env: Vec::new(),
            command: vec![AGENT_IN_IMAGE.to_owned()],
            labels: BTreeMap::new(),
        };
        let archive = folder.join("image.tar");
        write_archive(&archive, &[image])?;
        import(self.layout(), &tag, &archive)?;
        fs::remove_dir_all(&folder)?;
        Ok(tag)
    }
}
