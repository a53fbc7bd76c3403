//! For logs that wrap another.

/// Passes methods of [`EventLog`] on to a field that holds another log, in an `impl EventLog for` a wrapper. What is not named must be
/// written out, but for the methods that have a default: a wrapper that forgets those takes something from its log.
///
/// ```ignore
/// impl EventLog for Wrapper {
///     pass_to_log!(inner: capabilities, append, append_group, read_stream, stream_revision, head, others, close);
///     // read_all, differently
/// }
/// ```
///
/// `others`: everything that tells of other writers and readers (`piece_end`, `watch_head`, `look`, `ask_for_turn`, `turns_asked`).
#[macro_export]
macro_rules! pass_to_log {
    ($field:tt: $($method:ident),* $(,)?) => {
        $($crate::pass_to_log!(@$method $field);)*
    };
    (@capabilities $field:tt) => {
        fn capabilities(&self) -> $crate::Capabilities {
            self.$field.capabilities()
        }
    };
    (@append $field:tt) => {
        fn append(
            &self,
            append: $crate::Append,
        ) -> ::futures::future::BoxFuture<'static, Result<$crate::Appended, $crate::AppendError>> {
            self.$field.append(append)
        }
    };
    (@append_group $field:tt) => {
        fn append_group(
            &self,
            appends: Vec<$crate::Append>,
        ) -> ::futures::future::BoxFuture<'static, Vec<Result<$crate::Appended, $crate::AppendError>>> {
            self.$field.append_group(appends)
        }
    };
    (@read_stream $field:tt) => {
        fn read_stream<'a>(
            &'a self,
            stream: &'a $crate::StreamId,
            from: $crate::Revision,
            limit: usize,
        ) -> ::futures::future::BoxFuture<'a, Result<Vec<$crate::RecordedEvent>, $crate::ReadError>> {
            self.$field.read_stream(stream, from, limit)
        }
    };
    (@stream_revision $field:tt) => {
        fn stream_revision<'a>(
            &'a self,
            stream: &'a $crate::StreamId,
        ) -> ::futures::future::BoxFuture<'a, Result<$crate::Revision, $crate::ReadError>> {
            self.$field.stream_revision(stream)
        }
    };
    (@read_all $field:tt) => {
        fn read_all<'a>(
            &'a self,
            after: $crate::Position,
            filter: &'a $crate::Filter,
            limit: usize,
            limit_bytes: usize,
        ) -> ::futures::future::BoxFuture<'a, Result<$crate::Page, $crate::ReadError>> {
            self.$field.read_all(after, filter, limit, limit_bytes)
        }
    };
    (@head $field:tt) => {
        fn head(&self) -> ::futures::future::BoxFuture<'_, Result<$crate::Head, $crate::ReadError>> {
            self.$field.head()
        }
    };
    (@watch_head $field:tt) => {
        fn watch_head(&self) -> ::tokio::sync::watch::Receiver<$crate::Position> {
            self.$field.watch_head()
        }
    };
    (@others $field:tt) => {
        $crate::pass_to_log!(@watch_head $field);

        fn piece_end(&self, after: $crate::Position, wanted: u64) -> $crate::Position {
            self.$field.piece_end(after, wanted)
        }

        fn look(&self) {
            self.$field.look();
        }

        fn ask_for_turn(&self, stream: &$crate::StreamId) {
            self.$field.ask_for_turn(stream);
        }

        fn turns_asked(&self) -> Option<::tokio::sync::broadcast::Receiver<$crate::StreamId>> {
            self.$field.turns_asked()
        }
    };
    (@close $field:tt) => {
        fn close(&self) -> ::futures::future::BoxFuture<'_, ()> {
            self.$field.close()
        }
    };
}
