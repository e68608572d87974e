-- name: store
-- An entry that is delivered twice is refused twice: the key makes the second time nothing. Times travel
-- as microseconds and lists as JSON, so that it works with every codec a pool may have.
INSERT INTO dead_letters (stream, entry_id, row, sha256, service, fields, reasons, payload, arrived_at)
SELECT l.stream, l.entry_id, l.row, sha256(l.payload), l.service,
       ARRAY(SELECT jsonb_array_elements_text(l.fields)), ARRAY(SELECT jsonb_array_elements_text(l.reasons)),
       l.payload, timestamptz 'epoch' + l.arrived_us * interval '1 microsecond'
FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::text[]::jsonb[], $6::text[]::jsonb[],
            $7::bytea[], $8::bigint[])
     AS l (stream, entry_id, row, service, fields, reasons, payload, arrived_us)
ON CONFLICT (stream, entry_id, row, sha256) DO NOTHING

-- name: newest
-- Newest first, because whoever looks has just broken something. $1 is part of a field name or reason, $2 a stream;
-- null does not filter.
SELECT id, stream, entry_id, row, service, fields, reasons, length(payload) AS payload_bytes, arrived_at
FROM dead_letters
WHERE ($1::text IS NULL OR EXISTS (SELECT FROM unnest(fields || reasons) AS r WHERE strpos(lower(r), lower($1)) > 0))
  AND ($2::text IS NULL OR stream = $2)
ORDER BY id DESC
LIMIT $3

-- name: one
SELECT id, stream, entry_id, row, sha256, service, fields, reasons, payload, arrived_at
FROM dead_letters
WHERE id = $1

-- name: ids
-- Everything there is now, oldest first: what arrives while a person decides is not part of the answer.
SELECT id FROM dead_letters WHERE $1::text IS NULL OR stream = $1 ORDER BY id

-- name: payloads
-- The bytes to send again, once per entry: the rows of one frame share its bytes.
SELECT stream, payload, array_agg(id ORDER BY id) AS ids
FROM dead_letters
WHERE id = ANY($1::bigint[])
GROUP BY stream, entry_id, sha256, payload
ORDER BY min(id)

-- name: drop
DELETE FROM dead_letters WHERE id = ANY($1::bigint[])

-- name: count_entries
-- Rows refused of exactly these entries; the primary key begins with what is looked for.
SELECT count(*)
FROM unnest($1::text[], $2::text[]) AS e (stream, entry_id)
JOIN dead_letters USING (stream, entry_id)

-- name: count_range
-- Ids are two numbers with a dash between them and are compared as numbers.
SELECT count(*)
FROM dead_letters
WHERE stream = $1
  AND (split_part(entry_id, '-', 1)::bigint, split_part(entry_id, '-', 2)::bigint)
      BETWEEN ($2::bigint, $3::bigint) AND ($4::bigint, $5::bigint)
