-- rates: how many jobs ended and arrived lately, by queue.
--   in     :since, the first second that counts
--   out    a row a queue: its id, how many ended, the first second in which one did (null: none
--          did), and the same of those that arrived
--   locks  none: a reader
--   index  none: at most a minute of seconds a queue
select
    queue, total(ended), min(second) filter (where ended <> 0),
    total(arrived), min(second) filter (where arrived <> 0)
from traffic where second >= :since group by queue
