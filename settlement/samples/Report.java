import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Report a claim over REST, with nothing but Java's own library (11 or later).
 *
 *     java Report.java https://HOST_OF_THE_PORTAL CLIENT_ID CLIENT_SECRET claim.json
 *
 * The same Idempotency-Key may be sent again after a broken connection: the claim is taken once.
 */
public class Report {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    public static void main(String[] given) throws Exception {
        String portal = given[0];
        String claim = Files.readString(Path.of(given[3]), StandardCharsets.UTF_8);
        String token = token(portal, given[1], given[2]);
        System.out.println(report(portal, token, claim));
    }

    /** A token for claims; ask again when it has expired. */
    static String token(String portal, String id, String secret) throws Exception {
        String grant = "grant_type=client_credentials&scope=claims:write"
            + "&client_id=" + URLEncoder.encode(id, StandardCharsets.UTF_8)
            + "&client_secret=" + URLEncoder.encode(secret, StandardCharsets.UTF_8);
        String answer = post(
            HttpRequest.newBuilder(URI.create(portal + "/api/v1/oauth/token"))
                .header("Content-Type", "application/x-www-form-urlencoded"), grant);
        return text(answer, "access_token");
    }

    /** Report one claim; its answer holds decision, reason, amounts and clauses of every line. */
    static String report(String portal, String token, String claim) throws Exception {
        return post(
            HttpRequest.newBuilder(URI.create(portal + "/api/v1/claims"))
                .header("Authorization", "Bearer " + token)
                .header("Idempotency-Key", text(claim, "claim_no"))
                .header("Content-Type", "application/json"), claim);
    }

    /** POST and read; a refusal is read, too: it is a problem (RFC 9457). */
    static String post(HttpRequest.Builder request, String body) throws Exception {
        return CLIENT.send(
            request.timeout(Duration.ofSeconds(30))
                .POST(HttpRequest.BodyPublishers.ofString(body, StandardCharsets.UTF_8)).build(),
            HttpResponse.BodyHandlers.ofString(StandardCharsets.UTF_8)).body();
    }

    /** The text of one member; your own JSON library does this better. */
    static String text(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"]*)\"").matcher(json);
        if (!found.find()) {
            throw new IllegalStateException(json);
        }
        return found.group(1);
    }
}
