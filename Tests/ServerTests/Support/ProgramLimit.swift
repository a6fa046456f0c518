import PostgresTestSupport

/// A trigger that raises 54000, which PostgreSQL has for a value that is too large and for its full queue of
/// notifications.
enum ProgramLimit {
    /// The sentence of PostgreSQL for 46 MB of numbers in an array.
    static let largeValue = "total size of jsonb array elements exceeds the maximum of 268435455 bytes"
    /// The sentence of PostgreSQL for a full queue of notifications.
    static let fullQueue = "too many notifications in the NOTIFY queue"

    /// The SQL that makes the trigger.
    ///
    /// The sequence `public.refusals` counts the calls, those of transactions that were rolled back too.
    ///
    /// - Parameters:
    ///   - sentence: The message of the error.
    ///   - times: How many calls fail; nil for all.
    ///   - kind: `TRIGGER` or `CONSTRAINT TRIGGER`.
    ///   - event: When and on which table the trigger fires.
    /// - Returns: The SQL.
    static func script(_ sentence: String, times: Int? = nil, kind: String = "TRIGGER", _ event: String) -> String {
        """
        CREATE SEQUENCE public.refusals;
        GRANT ALL ON SEQUENCE public.refusals TO PUBLIC;
        CREATE FUNCTION public.refuse() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('public.refusals') <= \(times ?? .max) THEN
                RAISE EXCEPTION '\(sentence)' USING ERRCODE = '54000';
            END IF;
            RETURN NULL; END $$;
        CREATE \(kind) refuse \(event) EXECUTE FUNCTION public.refuse();
        """
    }

    /// The SQL for a database that cannot store a transcript.
    static let largeTranscript = script(largeValue, "BEFORE INSERT ON app.transcripts FOR EACH ROW")
}
