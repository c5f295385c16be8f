//! The engine contract suite: what is written on `signalbox::engine::Engine`,
//! case by case, against every engine there is.

mod bed;
mod beside;
mod flow;
mod listing;
mod resume;

/// One test for each case and engine.
macro_rules! suite {
    ($($file:ident { $($case:ident,)* })*) => {
        suite!(engine: memory, $($file { $($case,)* })*);
        suite!(engine: redis, $($file { $($case,)* })*);
    };
    (engine: $engine:ident, $($file:ident { $($case:ident,)* })*) => {
        mod $engine {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    if super::bed::is_there(stringify!($engine)) {
                        super::$file::$case(super::bed::$engine).await;
                    }
                }
            )*)*
        }
    };
}

suite! {
    beside {
        what_is_asked_beside_a_stream_is_decided_as_on_it,
        who_is_interrupted_may_ask_beside,
        who_does_not_know_the_secret_asks_for_nothing,
    }
    flow {
        every_stream_sees_one_order,
        a_stream_receives_everything_after_its_admission,
        a_send_is_decided_once_however_often_it_is_asked,
        outcomes_come_in_the_order_asked,
        what_was_submitted_before_a_detach_is_done_before_it,
        a_key_repeats_the_first_response,
        recipients_that_are_not_connected_are_listed,
        an_outlet_that_overflows_is_detached_and_the_others_are_told,
        leaving_destroys_and_releases,
        a_backend_disconnects_for_good,
        a_full_session_refuses_one_more,
    }
    resume {
        a_resume_misses_nothing_and_repeats_nothing,
        a_resume_restates_the_outcomes_that_the_client_lacks,
        a_wrong_token_or_session_joins_anew,
        only_a_resume_that_is_honoured_ignores_its_data,
        a_log_that_does_not_reach_back_says_so,
        another_epoch_or_a_future_place_is_a_gap,
        a_take_over_releases_the_old_stream_and_ignores_it,
        a_window_that_is_over_destroys,
        no_window_destroys_at_once,
    }
    listing {
        sessions_page_by_id_without_repeats,
        connections_page_in_the_order_of_joining,
        what_does_not_exist_is_not_found,
        a_session_that_starts_again_has_a_higher_epoch,
        a_watch_has_no_gap_under_churn,
        a_watch_of_one_session_sees_only_that,
        stats_count_what_is_there,
    }
}
