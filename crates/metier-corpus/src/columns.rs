//! Columns of text in Parquet files, read a row at a time.
//!
//! The crate `parquet` reads footers, levels and values. Pages are decompressed here, and what they say of themselves is checked against what
//! they hold, since the crate reserves memory for what a page says.

use crate::read::File;
use metier_core::fault::near_miss;
use metier_core::{Error, Fault, Place, Result};
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;
use std::io::{BufReader, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of the largest page, decompressed.
const LARGEST: usize = if cfg!(test) { 1 << 22 } else { 1 << 30 };
/// How many times larger than its Snappy nothing can be: three bytes say at most 64.
const SNAPPY_RATIO: usize = 22;

/// A file whose footer is read.
pub(crate) struct Table {
    path: PathBuf,
    file: Arc<Bytes>,
    metadata: ParquetMetaData,
}

/// What a column is to the reader.
pub(crate) enum Wanted<'a> {
    /// It is to be there, and to hold text.
    Always(&'a str),
    /// It is read where it is there and holds text.
    Perhaps(&'a str),
}

impl Table {
    /// Opens a file, and reads nothing of it but its footer.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let length = file.length().map_err(|error| Error::io(path, "open", &error))?;
        let file = Bytes { file, length };
        let metadata = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&file))
            .map_err(|error| wrong(Place::file(path), &error))?;
        if !rows_agree(&metadata) {
            return Err(Error::file(path, "the file is damaged: it says several things of how many rows it has"));
        }
        Ok(Self { path: path.to_path_buf(), file: Arc::new(file), metadata })
    }

    pub fn groups(&self) -> &[RowGroupMetaData] {
        self.metadata.row_groups()
    }

    /// The number of a column of text; `None` where it may be missing and is.
    pub fn column(&self, wanted: &Wanted) -> Result<Option<usize>> {
        let columns = self.metadata.file_metadata().schema_descr().columns();
        let (Wanted::Always(name) | Wanted::Perhaps(name)) = wanted;
        let found = columns.iter().position(|column| column.path().string() == *name);
        let reason = found.and_then(|index| no_text(&columns[index]));
        if matches!(wanted, Wanted::Perhaps(_)) {
            return Ok(found.filter(|_| reason.is_none()));
        }
        let texts: Vec<_> =
            columns.iter().filter(|column| no_text(column).is_none()).map(|column| column.path().string()).collect();
        let hint = || match near_miss(name, texts.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? set `text_key`"),
            None if texts.is_empty() => "no column of the file holds text".to_owned(),
            None => format!("its columns of text: {}; set `text_key`", texts.join(", ")),
        };
        let fault = |message: String| Fault::new(Place::file(&self.path), message).hint(hint()).into();
        match (found, reason) {
            (Some(index), None) => Ok(Some(index)),
            (Some(_), Some(kind)) => Err(fault(format!("the column `{name}` holds {kind}, not text"))),
            (None, _) => Err(fault(format!("the file has no column `{name}`"))),
        }
    }

    /// How many rows a group has, which is to be no nonsense.
    pub fn rows(&self, group: &RowGroupMetaData) -> Result<usize> {
        usize::try_from(group.num_rows()).map_err(|_| {
            Error::file(&self.path, format!("the file is damaged: a group of {} rows is none", group.num_rows()))
        })
    }

    /// The values of a column in a group of rows.
    pub fn values(&self, group: usize, column: usize) -> Result<Values> {
        let schema = self.metadata.file_metadata().schema_descr().column(column);
        let name = schema.path().string();
        let fault =
            |message: String| Error::user(Place::file(&self.path).with_key(format!("column `{name}`")), message);
        let group = &self.metadata.row_groups()[group];
        let Some(chunk) = group.columns().get(column) else {
            return Err(fault(format!("the file is damaged: a group has {} columns", group.num_columns())));
        };
        self.check(chunk).map_err(fault)?;
        let codec = chunk.compression();
        if !matches!(
            codec,
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) | Compression::ZSTD(_)
        ) {
            let message = format!("the column is compressed by {codec}, which is not read");
            return Err(fault(message).hint("write the file with zstd, snappy, gzip or no compression"));
        }
        let plain = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build();
        let rows = self.rows(group)?;
        let pages = plain.and_then(|plain| SerializedPageReader::new(Arc::clone(&self.file), &plain, rows, None));
        let pages = Pages { inner: pages.map_err(|error| fault(error.to_string()))?, codec, dictionary: false };
        Ok(Values { reader: ColumnReaderImpl::new(schema, Box::new(pages)), levels: Vec::new() })
    }

    /// Whether a part of the file lies in it, which the crate takes for granted.
    fn check(&self, chunk: &ColumnChunkMetaData) -> std::result::Result<(), String> {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let end = start.checked_add(chunk.compressed_size()).filter(|end| (0..=*end).contains(&start));
        match end {
            Some(end) if end as u64 <= self.file.length => Ok(()),
            _ => Err("the file is damaged: the column lies outside of it".to_owned()),
        }
    }

    /// The fault of a row, counted from 0.
    pub fn wrong(&self, row: usize, error: &ParquetError) -> Error {
        wrong(Place::file(&self.path).with_key(format!("row {}", row + 1)), error)
    }
}

/// Whether the rows of the file, of its groups and of their columns are as many. Nulls take no room, so a number that is damaged could ask for any time.
fn rows_agree(metadata: &ParquetMetaData) -> bool {
    let groups = || metadata.row_groups().iter();
    let columns = |group: &RowGroupMetaData| {
        let mut flat = group.columns().iter().filter(|column| column.column_descr().max_rep_level() == 0);
        flat.all(|column| column.num_values() == group.num_rows())
    };
    let sum = groups().try_fold(0_i64, |sum, group| sum.checked_add(group.num_rows()));
    sum == Some(metadata.file_metadata().num_rows()) && groups().all(columns)
}

/// What a column holds, if that is no text.
fn no_text(column: &ColumnDescriptor) -> Option<String> {
    if column.max_rep_level() > 0 {
        return Some("lists".to_owned());
    }
    if column.physical_type() != Type::BYTE_ARRAY {
        return Some(format!("values of the type {}", column.physical_type()));
    }
    // Writers of old say nothing of what is text.
    match (column.logical_type_ref(), column.converted_type()) {
        (None | Some(LogicalType::String | LogicalType::Json | LogicalType::Enum), ConvertedType::NONE)
        | (_, ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM) => None,
        (Some(kind), _) => Some(format!("values of the type {kind:?}")),
        (None, kind) => Some(format!("values of the type {kind}")),
    }
}

fn wrong(place: Place, error: &ParquetError) -> Error {
    let said = error.to_string();
    let said =
        ["Parquet error: ", "EOF: ", "External: "].iter().fold(&*said, |said, start| said.trim_start_matches(start));
    Error::user(place, format!("this is no Parquet, or it is damaged or cut off: {said}"))
}

/// What the crate says, which panics on some files that are damaged; what it was reading is not read on then.
fn guarded<T>(read: impl FnOnce() -> std::result::Result<T, ParquetError>) -> std::result::Result<T, ParquetError> {
    let damaged = |_| Err(ParquetError::General("a page makes no sense".to_owned()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(damaged)
}

/// The values of a column, one after another.
pub(crate) struct Values {
    reader: ColumnReaderImpl<ByteArrayType>,
    levels: Vec<i16>,
}

impl Values {
    /// The next value, if it is not null.
    pub fn next(&mut self) -> std::result::Result<Option<Vec<u8>>, ParquetError> {
        let mut value: Vec<ByteArray> = Vec::new();
        self.levels.clear();
        let read = || self.reader.read_records(1, Some(&mut self.levels), None, &mut value);
        let (rows, ..) = guarded(read)?;
        if rows == 0 {
            return Err(ParquetError::General("a column has fewer rows than the file says".to_owned()));
        }
        // What a value is a part of is not to stay because of it.
        Ok(value.pop().map(|value| value.data().to_vec()))
    }

    /// Passes over values; pages that hold nothing else are not decompressed.
    pub fn skip(&mut self, count: usize) -> std::result::Result<(), ParquetError> {
        match guarded(|| self.reader.skip_records(count))? {
            skipped if skipped == count => Ok(()),
            _ => Err(ParquetError::General("a column has fewer rows than the file says".to_owned())),
        }
    }
}

/// The bytes of a file. Reading on behind its end is an error, for the crate passes over what a header only says is there, without
/// looking whether anything comes.
struct Bytes {
    file: File,
    length: u64,
}

impl Length for Bytes {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Bytes {
    type T = Rest;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Rest> {
        Ok(Rest(BufReader::new(self.file.from(start)?)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<bytes::Bytes> {
        let mut bytes = Vec::new();
        self.file.from(start)?.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes were expected, and {} are there", bytes.len())));
        }
        Ok(bytes.into())
    }
}

struct Rest(BufReader<File>);

impl Read for Rest {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(out)? {
            0 if !out.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

/// Pages of a column, decompressed.
struct Pages {
    inner: SerializedPageReader<Bytes>,
    codec: Compression,
    /// Whether a dictionary was seen.
    dictionary: bool,
}

/// The bytes of a page, of which the first `plain` are not compressed.
fn decompress(codec: Compression, page: &[u8], plain: usize) -> std::result::Result<Vec<u8>, ParquetError> {
    let large = || ParquetError::General(format!("a page has more than {LARGEST} bytes"));
    let Some((levels, packed)) = page.split_at_checked(plain) else {
        return Err(ParquetError::General("a page is shorter than its levels".to_owned()));
    };
    let mut out = levels.to_vec();
    let limit = LARGEST as u64 + 1;
    match codec {
        // What holds only nulls is empty.
        _ if packed.is_empty() => {}
        Compression::SNAPPY => {
            let wrong = |error: snap::Error| ParquetError::External(Box::new(error));
            let length = snap::raw::decompress_len(packed).map_err(wrong)?;
            if length > LARGEST {
                return Err(large());
            }
            if length > packed.len() * SNAPPY_RATIO {
                return Err(ParquetError::General("a page says that it is larger than it can be".to_owned()));
            }
            out.resize(plain + length, 0);
            snap::raw::Decoder::new().decompress(packed, &mut out[plain..]).map_err(wrong)?;
        }
        Compression::GZIP(_) => {
            flate2::bufread::MultiGzDecoder::new(packed).take(limit).read_to_end(&mut out)?;
        }
        Compression::ZSTD(_) => {
            zstd::Decoder::with_buffer(packed)?.take(limit).read_to_end(&mut out)?;
        }
        _ => out.extend(packed),
    }
    if out.len() > LARGEST + plain { Err(large()) } else { Ok(out) }
}

/// A page as it is when it is not compressed.
fn unpacked(codec: Compression, page: Page) -> std::result::Result<Page, ParquetError> {
    Ok(match page {
        Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
            let buf = decompress(codec, &buf, 0)?;
            // Each value has four bytes for its length.
            if num_values as usize > buf.len() / 4 {
                return Err(ParquetError::General(format!("a dictionary is too small for {num_values} values")));
            }
            Page::DictionaryPage { buf: buf.into(), num_values, encoding, is_sorted }
        }
        Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics } => {
            let buf = decompress(codec, &buf, 0)?.into();
            known(encoding)?;
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics }
        }
        Page::DataPageV2 {
            buf,
            num_values,
            encoding,
            num_nulls,
            num_rows,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed,
            statistics,
        } => {
            let levels = def_levels_byte_len as usize + rep_levels_byte_len as usize;
            let buf = if is_compressed { decompress(codec, &buf, levels)?.into() } else { buf };
            known(encoding)?;
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                statistics,
            }
        }
    })
}

/// Whether values are written in a way that can be read in memory that the page's own size bounds.
fn known(encoding: Encoding) -> std::result::Result<(), ParquetError> {
    match encoding {
        Encoding::PLAIN | Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => Ok(()),
        _ => Err(ParquetError::General(format!("the encoding {encoding} is not read; write the text as PLAIN"))),
    }
}

impl Iterator for Pages {
    type Item = std::result::Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> std::result::Result<Option<Page>, ParquetError> {
        let Some(page) = self.inner.get_next_page()? else { return Ok(None) };
        self.dictionary |= page.is_dictionary_page();
        if !self.dictionary && matches!(page.encoding(), Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY) {
            return Err(ParquetError::General("a page has no dictionary".to_owned()));
        }
        unpacked(self.codec, page).map(Some)
    }

    fn peek_next_page(&mut self) -> std::result::Result<Option<PageMetadata>, ParquetError> {
        let next = self.inner.peek_next_page()?;
        self.dictionary |= next.as_ref().is_some_and(|page| page.is_dict);
        Ok(next)
    }

    fn skip_next_page(&mut self) -> std::result::Result<(), ParquetError> {
        self.inner.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.inner.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> std::result::Result<Option<Page>, ParquetError> {
        self.inner.take_deferred_dictionary()?.map(|page| unpacked(self.codec, page)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::{GzipLevel, ZstdLevel};

    fn data(bytes: Vec<u8>, encoding: Encoding) -> Page {
        let levels = Encoding::RLE;
        Page::DataPage {
            buf: bytes.into(),
            num_values: 1,
            encoding,
            def_level_encoding: levels,
            rep_level_encoding: levels,
            statistics: None,
        }
    }

    #[test]
    fn numbers_of_rows_that_differ_are_damage() {
        let metadata = Table::open(&metier_testkit::fixture("tables/snappy.parquet")).unwrap().metadata;
        assert!(rows_agree(&metadata));
        let (file, mut groups) = (metadata.file_metadata().clone(), metadata.row_groups().to_vec());
        let last = groups.pop().unwrap();
        let rows = last.num_rows();
        let with = |rows| {
            let last = last.clone().into_builder().set_num_rows(rows).build().unwrap();
            let groups = groups.iter().cloned().chain([last]).collect();
            rows_agree(&ParquetMetaData::new(file.clone(), groups))
        };
        assert!(with(rows) && !with(rows + 1) && !with(i64::MAX) && !with(-1));
    }

    #[test]
    fn what_a_page_says_of_itself_is_not_believed() {
        let said = |codec, page| unpacked(codec, page).map(drop).unwrap_err().to_string();
        // Snappy of 100 bytes that says it is of 4 GiB, and one that says it is of 4 MiB.
        let snappy = |length: u64| {
            let mut bytes = (0..5).map(|byte| (length >> (7 * byte)) as u8 | 0x80).collect::<Vec<_>>();
            bytes[4] &= 0x7f;
            bytes.resize(100, 0);
            bytes
        };
        let page = |length| data(snappy(length), Encoding::PLAIN);
        assert!(said(Compression::SNAPPY, page(u64::from(u32::MAX))).contains("more than 4194304 bytes"));
        assert!(said(Compression::SNAPPY, page(LARGEST as u64)).contains("larger than it can be"));
        // What gzip and zstd make of many zeros is cut off.
        let zeros = vec![0; LARGEST + 2];
        let packed = zstd::encode_all(&zeros[..], 1).unwrap();
        assert!(said(Compression::ZSTD(ZstdLevel::default()), data(packed, Encoding::PLAIN)).contains("more than"));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &zeros).unwrap();
        let packed = gzip.finish().unwrap();
        assert!(said(Compression::GZIP(GzipLevel::default()), data(packed, Encoding::PLAIN)).contains("more than"));
        // A dictionary of more values than there are bytes, and lists of lengths of any length.
        let dictionary = Page::DictionaryPage {
            buf: vec![0; 100].into(),
            num_values: u32::MAX,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        assert!(said(Compression::UNCOMPRESSED, dictionary).contains("too small for 4294967295 values"));
        let delta = data(vec![0xff; 100], Encoding::DELTA_LENGTH_BYTE_ARRAY);
        assert!(said(Compression::UNCOMPRESSED, delta).contains("encoding DELTA_LENGTH_BYTE_ARRAY is not read"));
        // Levels beyond the page.
        let levels = Page::DataPageV2 {
            buf: vec![0; 9].into(),
            num_values: 1,
            encoding: Encoding::PLAIN,
            num_nulls: 0,
            num_rows: 1,
            def_levels_byte_len: u32::MAX,
            rep_levels_byte_len: u32::MAX,
            is_compressed: true,
            statistics: None,
        };
        assert!(said(Compression::SNAPPY, levels).contains("shorter than its levels"));
    }
}
