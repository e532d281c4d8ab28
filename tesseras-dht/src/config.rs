//! Every setting of the DHT with its unit, bound and cost (Maymounkov and Mazières, Kademlia, 2002,
//! for `k` and `alpha`).

use std::time::Duration;

use tesseras_core::time::CLOCK_TOLERANCE;
use tesseras_crypto::node::DEFAULT_WORK_BITS;
use tesseras_wire::MAX_FRAME_BYTES;

/// Default of [`DhtConfig::k`].
pub const DEFAULT_K: usize = 20;
/// Default of [`DhtConfig::alpha`].
pub const DEFAULT_ALPHA: usize = 3;
/// Default of [`DhtConfig::request_deadline`].
pub const DEFAULT_REQUEST_DEADLINE: Duration = Duration::from_secs(3);
/// Default of [`DhtConfig::slow_after`].
pub const DEFAULT_SLOW_AFTER: Duration = Duration::from_millis(500);
/// Default of [`DhtConfig::dial_back_deadline`].
pub const DEFAULT_DIAL_BACK_DEADLINE: Duration = Duration::from_secs(2);
/// Default of [`DhtConfig::refresh_every`].
pub const DEFAULT_REFRESH_EVERY: Duration = Duration::from_secs(60 * 60);
/// Default of [`DhtConfig::hello_every`].
pub const DEFAULT_HELLO_EVERY: Duration = Duration::from_secs(10 * 60);
/// Default of [`DhtConfig::max_records`].
pub const DEFAULT_MAX_RECORDS: usize = 131_072;
/// Default of [`DhtConfig::subnet_per_bucket`].
pub const DEFAULT_SUBNET_PER_BUCKET: usize = 2;
/// Default of [`DhtConfig::subnet_per_table`].
pub const DEFAULT_SUBNET_PER_TABLE: usize = 10;

/// How long a holder record is valid after its date.
pub const RECORD_LIFETIME: Duration = Duration::from_secs(48 * 60 * 60);
/// How often a holder should announce its keys again; the caller of
/// [`announce`](crate::Dht::announce) owns the keys and therefore this timer.
pub const REANNOUNCE_EVERY: Duration = Duration::from_secs(12 * 60 * 60);
/// The random jitter, in either direction, that the next announcement should have.
pub const REANNOUNCE_JITTER: Duration = Duration::from_secs(2 * 60 * 60);
/// The most holder records that one store keeps for one key; more are refused.
pub const RECORDS_PER_KEY: usize = 128;
/// The most holder records of one key whose holders share a /24 or /48 that is not local.
pub const RECORDS_PER_SUBNET: usize = 2;
/// One announcer may fill at most one part in this many of a store.
pub const ANNOUNCER_SHARE: usize = 100;
/// An announcer may always have at least this many records.
pub const ANNOUNCER_MINIMUM: usize = 16;

/// The most that [`DhtConfig::alpha`] may be.
pub const MAX_ALPHA: usize = 16;
/// The most contacts in one answer; more are ignored.
pub const MAX_CONTACTS: usize = 20;
/// Records in one page of a `find_holders` answer.
pub const RECORDS_PER_PAGE: usize = 64;
/// The most records in one `announce`.
pub const RECORDS_PER_ANNOUNCE: usize = 64;
/// The most pages that are requested from one peer.
pub const MAX_PAGES: u32 = RECORDS_PER_KEY.div_ceil(RECORDS_PER_PAGE) as u32;

/// The largest size of a record in MessagePack, in bytes: 192, and four IPv6 addresses of 45.
pub(crate) const RECORD_WIRE_BYTES: usize = 192 + 4 * 45;
/// The largest size of a contact in MessagePack, in bytes.
pub(crate) const CONTACT_WIRE_BYTES: usize = 48 + 4 * 45;

const _: () = {
    let page = RECORDS_PER_PAGE * RECORD_WIRE_BYTES + MAX_CONTACTS * CONTACT_WIRE_BYTES + 256;
    assert!(page <= MAX_FRAME_BYTES, "a page of records and contacts fits a frame");
    assert!(RECORDS_PER_ANNOUNCE * RECORD_WIRE_BYTES + 256 <= MAX_FRAME_BYTES);
    assert!(MAX_PAGES as usize * RECORDS_PER_PAGE >= RECORDS_PER_KEY);
    assert!(
        2 * (REANNOUNCE_EVERY.as_secs() + REANNOUNCE_JITTER.as_secs()) + CLOCK_TOLERANCE.as_secs()
            < RECORD_LIFETIME.as_secs(),
        "a record outlives one missed announcement"
    );
    assert!(DEFAULT_REFRESH_EVERY.as_secs() < RECORD_LIFETIME.as_secs());
    assert!(DEFAULT_HELLO_EVERY.as_secs() < DEFAULT_REFRESH_EVERY.as_secs());
    assert!(DEFAULT_SLOW_AFTER.as_millis() < DEFAULT_REQUEST_DEADLINE.as_millis());
    assert!(DEFAULT_K <= MAX_CONTACTS, "one answer can name the k closest");
};

/// Settings of a DHT node. All nodes of one network must agree on `work_bits` and should agree on
/// `k`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhtConfig {
    /// Contacts per bucket, results per lookup and copies per record; 1 to [`MAX_CONTACTS`].
    /// More survives more churn and costs that many more messages. Default [`DEFAULT_K`].
    pub k: usize,
    /// Requests that a lookup keeps in flight; 1 to [`MAX_ALPHA`]. Default [`DEFAULT_ALPHA`].
    pub alpha: usize,
    /// Zero bits that a NodeId's hash must end with; a property of the network. Default
    /// [`DEFAULT_WORK_BITS`]; 0 in simulation.
    pub work_bits: u32,
    /// How long one request may take, connecting included. A dead peer costs a lookup nothing but
    /// a slot for this long. Default [`DEFAULT_REQUEST_DEADLINE`].
    pub request_deadline: Duration,
    /// After this long an unanswered request no longer counts against `alpha`, so that an extra
    /// one goes out. Shorter than `request_deadline`. Default [`DEFAULT_SLOW_AFTER`].
    pub slow_after: Duration,
    /// How long a dial back to an announced address may take; a `hello` waits for this on top of
    /// `request_deadline`. Default [`DEFAULT_DIAL_BACK_DEADLINE`].
    pub dial_back_deadline: Duration,
    /// Maximum age of a bucket's last lookup. Costs about 25 small requests per occupied bucket.
    /// Default [`DEFAULT_REFRESH_EVERY`].
    pub refresh_every: Duration,
    /// How often the least recently seen peers are greeted; this also shows whether this node is
    /// reachable. Default [`DEFAULT_HELLO_EVERY`].
    pub hello_every: Duration,
    /// Holder records kept in memory, at about 400 bytes each when full. When full, the record
    /// farthest from this node gives way to a nearer one. Default [`DEFAULT_MAX_RECORDS`].
    pub max_records: usize,
    /// Contacts of one /24 or /48 per bucket, local networks excepted. Default
    /// [`DEFAULT_SUBNET_PER_BUCKET`].
    pub subnet_per_bucket: usize,
    /// Contacts of one /24 or /48 in the whole table, local networks excepted. Default
    /// [`DEFAULT_SUBNET_PER_TABLE`].
    pub subnet_per_table: usize,
}

impl Default for DhtConfig {
    fn default() -> Self {
        Self {
            k: DEFAULT_K,
            alpha: DEFAULT_ALPHA,
            work_bits: DEFAULT_WORK_BITS,
            request_deadline: DEFAULT_REQUEST_DEADLINE,
            slow_after: DEFAULT_SLOW_AFTER,
            dial_back_deadline: DEFAULT_DIAL_BACK_DEADLINE,
            refresh_every: DEFAULT_REFRESH_EVERY,
            hello_every: DEFAULT_HELLO_EVERY,
            max_records: DEFAULT_MAX_RECORDS,
            subnet_per_bucket: DEFAULT_SUBNET_PER_BUCKET,
            subnet_per_table: DEFAULT_SUBNET_PER_TABLE,
        }
    }
}

impl DhtConfig {
    /// The same settings with every value inside its documented bounds.
    pub fn bounded(mut self) -> Self {
        self.k = self.k.clamp(1, MAX_CONTACTS);
        self.alpha = self.alpha.clamp(1, MAX_ALPHA);
        self.request_deadline = self.request_deadline.max(Duration::from_millis(10));
        self.slow_after = self.slow_after.clamp(Duration::from_millis(1), self.request_deadline);
        self.refresh_every = self.refresh_every.clamp(Duration::from_secs(1), RECORD_LIFETIME);
        self.hello_every = self.hello_every.max(Duration::from_secs(1));
        self.max_records = self.max_records.max(ANNOUNCER_MINIMUM);
        self.subnet_per_bucket = self.subnet_per_bucket.max(1);
        self.subnet_per_table = self.subnet_per_table.max(self.subnet_per_bucket);
        self
    }

    /// The most records that one announcer may have in this node's store.
    pub fn records_per_announcer(&self) -> usize {
        (self.max_records / ANNOUNCER_SHARE).max(ANNOUNCER_MINIMUM)
    }

    /// How long the sender of a `hello` waits, including the peer's dials back.
    pub fn hello_deadline(&self) -> Duration {
        self.request_deadline + self.dial_back_deadline
    }
}
