//! An image in the files of another storage, for tests: what that storage does wrong, the image meets.

use std::io::ErrorKind;

use trine_platform::block_on;

use crate::error::Attempt;
use crate::image::medium::Medium;
use crate::image::{ImageDirectory, MEDIA};
use crate::{File, Mode, Operation, Result, Storage};

const MODE: Mode = Mode::Blocking;

fn file(host: &Storage, name: &str) -> Result<File> {
    match block_on(host.open_write(MODE, name)) {
        Err(error) if error.source.kind() == ErrorKind::NotFound => {
            let file = block_on(host.create(MODE, name))?;
            block_on(host.sync_directory(MODE))?;
            Ok(file)
        }
        opened => opened,
    }
}

/// Opens the image in the three files of `host` that are called [`MEDIA`].
pub(crate) fn open(host: &Storage) -> Result<ImageDirectory> {
    let [bytes, first, second] = MEDIA.map(|name| file(host, name).map(Medium::File));
    let image = ImageDirectory::open([bytes?, first?, second?]);
    image.map_err(|error| Attempt::new(Operation::Open, "image").failed(error))
}
