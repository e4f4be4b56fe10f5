-- Deletes a rule; what it found ends as if it found nothing any more. $1 rule_id int. Index: primary key. Locks: its row.
delete from headrace.alert_rule where rule_id = $1
