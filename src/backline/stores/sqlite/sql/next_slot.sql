-- next_slot: the earliest slot that has not come.
--   in     :now
--   out    a row: the slot, or null
--   locks  none: a reader
--   index  schedule_next, its first entry after now
select min(next) from schedule indexed by schedule_next where next > :now
