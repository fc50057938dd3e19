"""Addresses of the inbox, of messages and of webhooks."""

from django.urls import path

from institutions import inbox_views, news_views

urlpatterns = [
    path("inbox/", inbox_views.inbox, name="inbox"),
    path("inbox/act/", inbox_views.act, name="inbox-act"),
    path("inbox/deadlines.ics", inbox_views.deadlines, name="deadlines"),
    path("inbox/subscription/", inbox_views.subscription, name="deadlines-subscription"),
    path("inbox/delegations/", inbox_views.delegations, name="delegations"),
    path("inbox/delegations/<int:pk>/end/", inbox_views.end_delegation, name="delegation-end"),
    path("calendar/<str:key>/deadlines.ics", inbox_views.feed, name="deadlines-feed"),
    path("notifications/", news_views.notifications, name="notifications"),
    path("notifications/read/", news_views.read_all, name="notifications-read"),
    path("notifications/mail/", news_views.mail_news, name="notifications-mail"),
    path("notifications/<int:pk>/", news_views.open_notification, name="notification"),
    path("webhooks/", news_views.hooks, name="webhooks"),
    path("webhooks/<int:pk>/test/", news_views.hook_act, {"action": "test"}, name="webhook-test"),
    path("webhooks/<int:pk>/end/", news_views.hook_act, {"action": "end"}, name="webhook-end"),
]
