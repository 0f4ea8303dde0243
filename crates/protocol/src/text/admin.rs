//! Commands about the server and not about items.

use super::arguments::Arguments;
use super::number::{parse_i32, parse_u32};
use super::{Command, REPLY};
use crate::parser::Step;
use crate::words::Words;
use crate::{
    Compat, DumpClasses, DumpForm, ProtocolError, Request, StatsDetail, StatsTopic, WatchTopics,
};

impl<'a> Command<'a, '_> {
    pub(super) fn verbosity(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let (1 | 2) = arguments.count() else {
            return self.refused(ProtocolError::UnknownCommand, REPLY);
        };
        match parse_u32(arguments.get(0)) {
            None => self.refused(ProtocolError::BadFormat, arguments.reply()),
            Some(level) => self.done(Request::Verbosity { level }, arguments.reply()),
        }
    }

    pub(super) fn cache_memlimit(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let reply = arguments.reply();
        match (arguments.count(), parse_u32(arguments.get(0))) {
            (1 | 2, Some(..8)) => self.refused(ProtocolError::MemlimitTooSmall, reply),
            (1 | 2, Some(1_000_000_001..)) => {
                self.refused(ProtocolError::MemlimitNotMegabytes, reply)
            }
            (1 | 2, Some(megabytes)) => self.done(Request::CacheMemlimit { megabytes }, reply),
            (1 | 2, None) => self.refused(ProtocolError::UnknownCommand, reply),
            _ => self.refused(ProtocolError::UnknownCommand, REPLY),
        }
    }

    pub(super) fn shutdown(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let graceful = match (arguments.count(), arguments.get(0)) {
            (0, _) => Some(false),
            (1, b"graceful") => Some(true),
            _ => None,
        };
        self.done(Request::Shutdown { graceful }, REPLY)
    }

    pub(super) fn watch(&self, words: Words<'a>) -> Step<'a> {
        let mut topics = None;
        for word in words {
            let topic = match word {
                b"connevents" => WatchTopics::CONNEVENTS,
                b"evictions" => WatchTopics::EVICTIONS,
                b"fetchers" => WatchTopics::FETCHERS,
                b"mutations" => WatchTopics::MUTATIONS,
                b"proxyevents" | b"proxyreqs" | b"proxyuser" | b"rawcmds" | b"sysevents" => {
                    WatchTopics::NONE
                }
                _ => return self.done(Request::Watch { topics: None }, REPLY),
            };
            topics = Some(topics.unwrap_or(WatchTopics::NONE).with(topic));
        }
        let topics = Some(topics.unwrap_or(WatchTopics::FETCHERS));
        self.done(Request::Watch { topics }, REPLY)
    }

    /// There are no slab classes to move pages between.
    pub(super) fn slabs(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let reply = arguments.reply();
        match (arguments.get(0), arguments.count()) {
            (b"automove", 3) if arguments.get(1) == b"ratio" => self.accepted(true, reply),
            (b"automove", 2 | 3) => match parse_u32(arguments.get(1)) {
                None => self.refused(ProtocolError::BadFormat, reply),
                Some(level) => self.accepted(level <= AUTOMOVE_LEVEL_MAX, reply),
            },
            (b"reassign", 3) => {
                let classes = (parse_i32(arguments.get(1)), parse_i32(arguments.get(2)));
                match classes {
                    (Some(_), Some(_)) => self.accepted(true, reply),
                    _ => self.refused(ProtocolError::BadFormat, reply),
                }
            }
            _ => self.refused(ProtocolError::UnknownCommand, REPLY),
        }
    }

    /// There is one queue of items, and no thread that crawls it.
    pub(super) fn lru_crawler(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let argument = arguments.get(1);
        match (arguments.get(0), arguments.count()) {
            (b"disable" | b"enable", 1) => self.accepted(true, REPLY),
            (b"crawl", 2) => match dump_classes(argument) {
                Some(_) => self.accepted(true, REPLY),
                None => self.refused(ProtocolError::CrawlerClass, REPLY),
            },
            (b"metadump", 2) => self.dump(DumpForm::Metadump, argument),
            (b"mgdump", 2) => self.dump(DumpForm::Mgdump, argument),
            (b"sleep", 2) => match parse_u32(argument) {
                None => self.refused(ProtocolError::BadFormat, REPLY),
                Some(..=CRAWLER_SLEEP_US_MAX) => self.accepted(true, REPLY),
                Some(_) => self.refused(ProtocolError::BadCrawlerSleep, REPLY),
            },
            (b"tocrawl", 2) => match parse_u32(argument) {
                None => self.refused(ProtocolError::BadFormat, REPLY),
                Some(_) => self.accepted(true, REPLY),
            },
            _ => self.refused(ProtocolError::UnknownCommand, REPLY),
        }
    }

    fn dump(&self, form: DumpForm, classes: &[u8]) -> Step<'a> {
        match dump_classes(classes) {
            Some(classes) => self.done(Request::Dump { form, classes }, REPLY),
            None => self.refused(ProtocolError::CrawlerClass, REPLY),
        }
    }

    pub(super) fn lru(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let reply = arguments.reply();
        match (arguments.get(0), arguments.count()) {
            (b"tune", 5..) => {
                let share = |index| parse_u32(arguments.get(index));
                let age = |index| {
                    let text = str::from_utf8(arguments.get(index)).ok()?;
                    text.parse::<f64>().ok().filter(|age| !age.is_nan())
                };
                let (Some(hot), Some(warm), Some(hot_age), Some(warm_age)) =
                    (share(1), share(2), age(3), age(4))
                else {
                    return self.refused(ProtocolError::UnknownCommand, reply);
                };
                if LRU_SHARE_MAX < hot.saturating_add(warm) {
                    self.refused(ProtocolError::BadLruShares, reply)
                } else if hot_age <= 0.0 || warm_age <= 0.0 {
                    self.refused(ProtocolError::BadLruAges, reply)
                } else {
                    self.accepted(true, reply)
                }
            }
            (b"mode", 2..) => {
                self.accepted(matches!(arguments.get(1), b"flat" | b"segmented"), reply)
            }
            (b"temp_ttl", 2..) => self.accepted(parse_i32(arguments.get(1)).is_some(), reply),
            _ => self.refused(ProtocolError::UnknownCommand, reply),
        }
    }

    /// Understood and without effect, or not understood.
    fn accepted(&self, understood: bool, reply: crate::TextReply) -> Step<'a> {
        if understood {
            self.done(Request::Accepted, reply)
        } else {
            self.refused(ProtocolError::UnknownCommand, reply)
        }
    }

    pub(super) fn stats(&self, arguments: &Arguments<'a>) -> Step<'a> {
        let topic = if arguments.count() == 0 {
            Ok(StatsTopic::General)
        } else {
            match arguments.get(0) {
                b"cachedump" => cache_dump(arguments),
                b"conns" => Ok(StatsTopic::Conns),
                b"detail" => match arguments.get(1) {
                    b"dump" => Ok(StatsTopic::Detail(StatsDetail::Dump)),
                    b"off" => Ok(StatsTopic::Detail(StatsDetail::Off)),
                    b"on" => Ok(StatsTopic::Detail(StatsDetail::On)),
                    _ => Err(ProtocolError::BadStatsDetail),
                },
                b"reset" => Ok(StatsTopic::Reset),
                b"settings" => Ok(StatsTopic::Settings),
                name => Ok(StatsTopic::named(name)),
            }
        };
        match topic {
            Err(error) => self.refused(error, REPLY),
            Ok(topic) => self.done(Request::Stats { topic }, REPLY),
        }
    }

    /// What an empty line is answered.
    pub(super) fn empty_line(&self) -> Step<'a> {
        let error = match self.limits.compat {
            Compat::V1_6_18 => ProtocolError::UnknownCommand,
            Compat::V1_6_45 => ProtocolError::BadFormat,
        };
        self.refused(error, REPLY)
    }
}

fn cache_dump<'a>(arguments: &Arguments<'a>) -> Result<StatsTopic<'a>, ProtocolError> {
    if arguments.count() < 3 {
        return Err(ProtocolError::BadCommandLine);
    }
    let (Some(class), Some(limit)) = (parse_u32(arguments.get(1)), parse_u32(arguments.get(2)))
    else {
        return Err(ProtocolError::BadFormat);
    };
    if SLAB_CLASSES <= class {
        return Err(ProtocolError::BadSlabClass);
    }
    Ok(StatsTopic::CacheDump { class, limit })
}

/// `all`, `hash`, or numbers of classes with commas between them; `None` if one cannot exist.
fn dump_classes(classes: &[u8]) -> Option<DumpClasses> {
    if matches!(classes, b"all" | b"hash") {
        return Some(DumpClasses::All);
    }
    let mut shown = DumpClasses::Empty;
    for class in classes.split(|byte| *byte == b',') {
        match parse_u32(class)? {
            1 => shown = DumpClasses::All,
            2..SLAB_CLASSES => {}
            _ => return None,
        }
    }
    Some(shown)
}

const SLAB_CLASSES: u32 = 64;
const AUTOMOVE_LEVEL_MAX: u32 = 2;
const CRAWLER_SLEEP_US_MAX: u32 = 1_000_000;
/// Percent that two of the three queues may have together.
const LRU_SHARE_MAX: u32 = 80;
